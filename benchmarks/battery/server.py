"""The server under requests that are none, that ask too much, that leave, and without a key."""

import asyncio
import json
import random
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from battery.row import Outcome, Row, Size
from battery.serving import (
    CHAT,
    COMPLETIONS,
    QUEUE,
    SLOTS,
    Server,
    build,
    chat,
    served,
)
from battery.suite import through_tests

KEY = "sesame-7f3a9c-do-not-log"
MEBIBYTE = 2**20
JSON = b"Content-Type: application/json\r\n"


def whole(body: bytes, kind: bytes = JSON) -> bytes:
    """A well-formed POST of a body."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    return head + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body


def garbage() -> Iterator[tuple[str, bytes]]:
    """Requests that are none, by what is wrong with them."""
    good = json.dumps(chat()).encode()
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200
    yield "no version", b"GET /\r\n\r\n"
    yield "no bytes", b""
    yield "half a line", b"POST /v1/chat"
    yield "half of the headers", b"POST /v1/chat/completions HTTP/1.1\r\nHost: local"
    yield "half a body", whole(good)[: -len(good) // 2]
    yield "a length that is none", whole(good).replace(b"Content-Length: ", b"Content-Length: x")
    yield "two lengths", whole(good, JSON + b"Content-Length: 3\r\n")
    yield "a negative length", whole(good).replace(b"Content-Length: ", b"Content-Length: -")
    yield "chunks that are none", whole(good, JSON + b"Transfer-Encoding: chunked\r\n")
    yield "a header of 200 kB", whole(good, JSON + b"X-Long: " + b"a" * 200_000 + b"\r\n")
    yield "5,000 headers", whole(good, JSON + b"X-Many: a\r\n" * 5000)
    yield "a header with a NUL", whole(good, JSON + b"X-Nul: \0\r\n")
    yield "a long path", b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "an unknown method", b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    yield "bytes that are no UTF-8", whole(b'{"model": "\xff\xfe"}')
    yield (
        "half a surrogate pair",
        whole(b'{"model":"model","messages":[{"role":"user","content":"\\ud800"}]}'),
    )
    yield "a NUL in the text", whole(json.dumps(chat(stop="\0")).encode())
    yield "no JSON", whole(b"{")
    yield "no object", whole(b"[1, 2]")
    yield "nothing", whole(b"")
    yield "deep lists", whole(b"[" * 100_000)
    yield "deep objects", whole(b'{"a":' * 100_000)
    yield "a number of 5,000 digits", whole(b'{"max_tokens":' + b"9" * 5000 + b"}")
    yield "a key twice", whole(good[:-1] + b', "model": "other"}')
    yield "an unknown key", whole(json.dumps(chat(maxtokens=4)).encode())
    yield "another content type", whole(good, b"Content-Type: text/plain\r\n")
    yield "no content type", whole(good, b"")
    yield "another host", whole(good).replace(b"Host: localhost", b"Host: evil.example")
    yield (
        "a path upwards",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )


def damaged(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """A good request with bytes changed, left out and put in."""
    draw = random.Random(seed)
    good = whole(json.dumps(chat()).encode())
    for number in range(count):
        bytes_ = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(bytes_))
            cut = draw.choice((0, 1, draw.randint(1, 40)))
            bytes_[at : at + cut] = draw.randbytes(draw.choice((0, 1, 4)))
        yield f"damage {number}", bytes(bytes_)


def fuzzed(server: Server, cases: Iterator[tuple[str, bytes]]) -> tuple[int, list[str]]:
    """Send each; how many there were, and those that were answered as nothing may be.

    What is HTTP is refused in OpenAI's form; what is none, by the layer below, in a line of text.
    """
    count, failed = 0, []
    for name, sent in cases:
        count += 1
        answer = server.bytes(sent)
        below = answer.status == 400 and answer.body.startswith(b"Invalid HTTP")
        if not (answer.status in (0, 200, 431) or below or answer.refused):
            failed.append(f"{name}: {answer.status} {answer.body[:80]!r}")
    if not server.alive():
        failed.append("the server is gone")
    return count, failed


def http_fuzz(folder: Path, size: Size) -> Outcome:
    """Row 18: what the OpenAPI document allows and what it does not, and bytes that are no HTTP."""
    with served(folder) as server:
        count, failed = fuzzed(server, garbage())
        more, further = fuzzed(server, damaged(size.fuzz // 10, size.seed))
    examples = {"ACCORD_HTTP_EXAMPLES": str(max(10, size.fuzz // 100))}
    by_document = through_tests("tests/serve/test_fuzz.py", environment=examples)
    failed += further
    return Outcome(
        by_document.passed and not failed,
        f"{count + more - len(failed)} of {count + more} broken requests answered below 500; from "
        f"the document: {by_document.figure}, up to {examples['ACCORD_HTTP_EXAMPLES']} cases each",
        {"failed": failed, "document": dict(by_document.details)},
    )


def too_much() -> dict[str, tuple[str, bytes]]:
    """Requests that ask for too much or too little, by name: path and body."""
    settings: Mapping[str, tuple[str, ...]] = {
        "max_tokens": ("0", "-1", "1048577", "9" * 40, "1e999", "NaN", '"4"', "true", "1.5"),
        "max_completion_tokens": ("0", "-5", "9" * 19),
        "n": ("0", "-1", "65", "9" * 12, '"2"', "1.5"),
        "stop": ('""', "7", "[7]", json.dumps(["a"] * 17), json.dumps(["x"] * 20_000),
                 json.dumps("a" * 257), '[""]'),
        "temperature": ("-1", "101", "NaN", "Infinity", "-Infinity", "1e999", '"hot"'),
        "top_p": ("0", "-1", "1.1", "NaN", "Infinity"),
        "top_k": ("-2", "99999999", "1.5"),
        "min_p": ("-0.1", "1.1", "NaN"),
        "presence_penalty": ("-3", "3", "NaN"),
        "frequency_penalty": ("-3", "3", "Infinity"),
        "top_logprobs": ("-1", "21", "99999"),
        "logprobs": ("5", '"yes"'),
        "seed": ("18446744073709551616", "1.5"),
        "logit_bias": ('{"50": 100}',),
        "messages": ("[]", "{}", '"hi"', '[{"role": "wizard", "content": "a"}]'),
        "tools": ('[{"type": "function"}]',),
    }  # fmt: skip
    found = {}
    for key, values in settings.items():
        for value in values:
            rest = {name: what for name, what in chat().items() if name != key}
            body = f'{json.dumps(rest)[:-1]}, "{key}": {value}}}'.encode()
            found[f"{key}={value[:24]}"] = (CHAT, body)
    for name, prompt in {
        "a long prompt": "a " * 50_000,
        "an id too large": [10**6],
        "a negative id": [-1],
        "no ids": [],
        "65 prompts": ["a"] * 65,
    }.items():
        found[name] = (COMPLETIONS, json.dumps({"model": "model", "prompt": prompt}).encode())
    many = {"model": "model", "prompt": ["a"] * 8, "n": 9}
    found["72 completions"] = (COMPLETIONS, json.dumps(many).encode())
    found["older logprobs=21"] = (
        COMPLETIONS, json.dumps({"model": "model", "prompt": "a", "logprobs": 21}).encode(),
    )  # fmt: skip
    return found


def unlimited(server: Server) -> list[str]:
    """Requests beyond the limits that are not refused, or not at once."""
    failed = []
    before = server.post(CHAT, chat(temperature=0)).says.get("choices")
    for name, (path, body) in too_much().items():
        answer = server.post(path, body)
        if answer.status != 400 or not answer.refused:
            failed.append(f"{name}: {answer.status} {answer.body[:80]!r}")
    large = server.bytes(whole(b" " * (2 * MEBIBYTE)))
    if large.status != 413 or not large.refused:
        failed.append(f"2 MiB: {large.status}")
    with server.connect() as wire:  # refused before a byte of it has come
        wire.sendall(whole(b"").replace(b"Content-Length: 0", b"Content-Length: 20000000"))
        if not wire.recv(16).startswith(b"HTTP/1.1 413"):
            failed.append("20 MB that are announced")
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    head = whole(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    if server.bytes(head + chunk * 20 + b"0\r\n\r\n").status != 413:
        failed.append("2 MB in chunks")
    if not before or server.post(CHAT, chat(temperature=0)).says.get("choices") != before:
        failed.append("an ordinary request afterwards")
    return failed


def http_limits(folder: Path, _: Size) -> Outcome:
    """Row 19: too many tokens, completions, stop strings, bytes."""
    with served(folder) as server:
        failed = unlimited(server)
    count = len(too_much()) + 3
    return Outcome(
        not failed,
        f"{count - len(failed)} of {count} excessive requests refused with 400 or 413; "
        "then an ordinary one is answered as before",
        {"failed": failed},
    )


def together(server: Server, count: int) -> list[str]:
    """Streams that all run at once: the text of each; empty where it did not end as it should."""

    def one(number: int) -> str:
        with closing(server.stream(chat(number, max_tokens=24))) as wire:
            text = b"".join(iter(lambda: wire.recv(1 << 16), b"")).decode()
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        if not lines or lines[-1] != "data: [DONE]":
            return ""
        choices = [json.loads(line[6:])["choices"][0] for line in lines[:-1]]
        return "".join(choice["delta"].get("content", "") for choice in choices)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def alone(server: Server, number: int) -> str:
    """What a stream says without the others."""
    choices = server.post(CHAT, chat(number, max_tokens=24)).says["choices"]
    return choices[0]["message"]["content"]


def left(server: Server, count: int) -> None:
    """Streams whose readers leave after the first bytes; returns when their places are free."""
    for number in range(count):
        server.stream(chat(number, max_tokens=400)).close()
    while server.post(CHAT, chat(n=SLOTS, max_tokens=1)).status == 429:
        pass


def filled(server: Server) -> tuple[int, str]:
    """Status and Retry-After of one request more than the server takes."""
    wires = [server.stream(chat(n=n, max_tokens=450)) for n in (SLOTS, QUEUE)]
    answer = server.post(CHAT, chat())
    for wire in wires:
        wire.close()
    return answer.status, answer.headers.get("retry-after", "")


def slow(server: Server) -> bool:
    """Whether others are answered while one does not read what it asked for."""
    asked = chat(n=16, max_tokens=450, logprobs=True, top_logprobs=20)
    with closing(server.stream(asked, buffer=4096)):
        return all(server.post(CHAT, chat(number)).status == 200 for number in range(4))


def steps_after_leaving(folder: Path) -> int:
    """Tokens that are still drawn for completions after their reader has left."""
    from accord.serve.schema import ChatRequest
    from accord.serve.served import Capacity, open_served

    (model,) = open_served([str(folder)], Capacity(slots=4, queue=0)).values()
    batch, after, gone = model.worker._batch, [], []
    step = batch.step

    def counted() -> Any:
        after.append(len(batch.live)) if gone else None
        return step()

    async def ask() -> None:
        request = ChatRequest.model_validate(chat(n=4, max_tokens=400))
        jobs = model.jobs(request, model.prompts(request), asyncio.get_running_loop())
        model.worker.submit(jobs)
        await jobs[0].answer.news()
        model.worker.close(jobs)
        gone.append(True)
        while model.worker.decoding:
            await asyncio.sleep(0.001)

    with mock.patch.object(batch, "step", counted):
        asyncio.run(ask())
    model.worker.stop()
    return sum(after)


def streams(folder: Path, size: Size) -> Outcome:
    """Row 20: streams at once, readers that leave or do not read, a full queue, memory."""
    with served(folder) as server:
        rounds, texts = [], together(server, size.streams)
        same = sum(alone(server, number) == texts[number] for number in range(0, size.streams, 8))
        for _ in range(6):
            together(server, size.streams)
            left(server, size.streams // 2)
            rounds.append(server.memory())
        status, again = filled(server)
        read_by_others = slow(server)
    drawn = steps_after_leaving(folder / "model")
    grown = (rounds[-1] - rounds[2]) / MEBIBYTE
    wanted = len(range(0, size.streams, 8))
    checks = {
        "every stream ends": all(texts),
        "each says what it says alone": same == wanted,
        "memory is flat": grown < 8,
        "full: 429 with Retry-After": status == 429 and again.isdigit(),
        "slow readers hold up nobody": read_by_others,
        "cancelled within a token": drawn <= 4,
    }
    return Outcome(
        all(checks.values()),
        f"{sum(map(bool, texts))} of {size.streams} streams at once; {drawn / 4:.0f} tokens drawn "
        f"after leaving; memory {grown:+.1f} MiB over three rounds of {size.streams} streams and "
        f"{size.streams // 2} readers that leave; "
        f"full: {status}, Retry-After {again}",
        {"checks": checks, "memory": rounds},
    )


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


ROWS = (
    Row(
        "http-fuzz",
        "HTTP fuzz from the server's own OpenAPI document; bytes that are no HTTP",
        "no 5xx; OpenAI-style error JSON",
        http_fuzz,
    ),
    Row(
        "http-limits",
        "huge or negative max_tokens, n, stop lists, NaN, deep JSON; a body above 1 MB",
        "400 or 413 at once; the server lives",
        http_limits,
    ),
    Row(
        "streams",
        "64 streams, disconnects, slow clients",
        "cancelled within a token; memory flat; 429 and Retry-After when full",
        streams,
    ),
    Row(
        "auth",
        "where it listens, keys that are wrong, everything that is written searched for the key",
        "binds 127.0.0.1; refuses other addresses without a key; constant time; never logged",
        auth,
    ),
)
