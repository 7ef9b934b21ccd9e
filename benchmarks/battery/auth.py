"""Where the server listens, whom it lets in, and what of the key is written down."""

import asyncio
import socket
from pathlib import Path
from typing import Any
from unittest import mock

from battery.row import Outcome, Row, Size
from battery.serving import CHAT, COMPLETIONS, Server, build, chat, served

KEY = "sesame-7f3a9c-do-not-log"


def unlocked(server: Server) -> list[str]:
    """What a server with a key gives away."""
    failed = []
    wrong = ("", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"bearer {KEY}", "Basic x")
    for path in ("/v1/models", CHAT, COMPLETIONS, "/preferences", "/nowhere"):
        for given in wrong:
            answer = server.post(path, chat(), Authorization=given)
            if answer.status != 401 or not answer.refused or KEY.encode() in answer.body:
                failed.append(f"{path} with '{given[:12]}…': {answer.status}")
    if server.post(CHAT, chat()).status != 200:
        failed.append("the key itself")
    server.raw(f"GET /v1/{KEY}".encode())  # would stand in an access log
    server.bytes(f"BREW {KEY}\r\n\r\n".encode())
    server.post(CHAT, KEY.encode())
    return failed


def addresses(server: Server) -> set[str]:
    """Addresses at which something listens on the server's port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{server.process.pid}/net/{table}").read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            address, port = place.split(":")
            if state == "0A" and int(port, 16) == server.port:
                found.add(
                    socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address
                )
    return found


def compared() -> int:
    """Wrong keys that are compared in constant time, of three."""
    from accord.serve import guard

    async def ask(given: bytes) -> None:
        scope = {"type": "http", "path": "/v1/models", "method": "GET",
                 "headers": [(b"authorization", given)]}  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None:
            pass

        await guard.Guard(mock.AsyncMock(), KEY)(scope, receive, send)  # pyright: ignore

    with mock.patch.object(guard.hmac, "compare_digest", wraps=guard.hmac.compare_digest) as same:
        for given in (b"", b"Bearer x", b"Bearer " + KEY.encode()):
            asyncio.run(ask(given))
    return same.call_count


def auth(folder: Path, _: Size) -> Outcome:
    """Row 21: where it listens, who is let in, and what is written down."""
    from battery.mistakes import typed

    build(folder / "model")
    open_to_all = [
        typed(folder, ["serve", "model", "--host", host, "--port", "0"]).code
        for host in ("0.0.0.0", "::")
    ]
    broken = typed(folder, ["--debug", "serve", "gone", "--api-key", KEY])
    with served(folder, KEY) as server:
        failed, where = unlocked(server), addresses(server)
    files = [file for file in folder.rglob("*") if file.is_file()]
    said = [str(file.name) for file in files if KEY.encode() in file.read_bytes()]
    said += ["an error's screen"] if KEY in broken.out + broken.err else []
    checks = {
        "listens at 127.0.0.1 only": where == {"127.0.0.1"},
        "other addresses want a key": open_to_all == [2, 2],
        "nothing without the key": not failed,
        "compared in constant time": compared() == 3,
        "the key is written nowhere": not said,
    }
    return Outcome(
        all(checks.values()),
        f"{sum(checks.values())} of {len(checks)}: {', '.join(checks)}; {len(files)} files and all "
        "output searched for the key",
        {"checks": checks, "failed": failed, "said": said},
    )


AUTH = Row(
    "auth",
    "where it listens, keys that are wrong, everything that is written searched for the key",
    "binds 127.0.0.1; refuses other addresses without a key; constant time; never logged",
    auth,
)
