"""`transformers serve` under requests that are malformed, too large, or not meant for it.

It needs fastapi and uvicorn: the interpreter that has them is named by `BATTERY_SERVE_PYTHON`, and
is this one where nothing is named. What is sent is what Accord's server gets (`battery.server`);
in place of what Accord's own OpenAPI document yields, fields of wrong types.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from battery.peers import world
from battery.peers.lives import OFFLINE
from battery.row import Outcome, Size
from battery.server import garbage, too_much
from battery.serving import CHAT, Answer, Server, chat

INTERPRETER = "BATTERY_SERVE_PYTHON"
PROGRAM = "from transformers.cli.transformers import main; main()"
BOOT, SECONDS = 300.0, 15.0
ADDRESSES = 16 << 30
"""Bytes that the server may ask for: others work on the machine too."""
LARGE = {"messages": [{"role": "user", "content": "a b " * 5_000_000}]}
"""A body of 20 MB."""

CELLS: Mapping[str, dict[str, Any]] = {
    "messages a string": {"messages": "Hi"},
    "no messages": {"messages": []},
    "messages null": {"messages": None},
    "a message without role": {"messages": [{"content": "Hi"}]},
    "a message without content": {"messages": [{"role": "user"}]},
    "a message that is a number": {"messages": [7]},
    "content a number": {"messages": [{"role": "user", "content": 7}]},
    "content a list of numbers": {"messages": [{"role": "user", "content": [1, 2]}]},
    "role a list": {"messages": [{"role": [], "content": "Hi"}]},
    "temperature a word": {"temperature": "hot"},
    "top_p a list": {"top_p": [1]},
    "max_tokens a word": {"max_tokens": "many"},
    "seed a word": {"seed": "x"},
    "stop a number": {"stop": 7},
    "stop of numbers": {"stop": [1, 2]},
    "stream a word": {"stream": "yes"},
    "n a word": {"n": "two"},
    "logit_bias a list": {"logit_bias": [1]},
    "tools a word": {"tools": "all"},
    "model a number": {"model": 7},
    "model unknown": {"model": "no/such"},
    "frequency_penalty a word": {"frequency_penalty": "x"},
}
OTHERS: Mapping[str, tuple[str, Any]] = {
    "responses without input": ("/v1/responses", {"model": "model"}),
    "responses of a number": ("/v1/responses", {"model": "model", "input": 7}),
    "completions without prompt": ("/v1/completions", {"model": "model"}),
    "completions of a number": ("/v1/completions", {"model": "model", "prompt": 7}),
    "no such path": ("/v1/nothing", {}),
}


class Peer(Server):
    """A server that is given fewer seconds than ours."""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


class Told(NamedTuple):
    """What came of a request: the status, or why there is none; a refusal in OpenAI's form?"""

    status: str
    refused: bool = False

    @property
    def broken(self) -> bool:
        return not self.status.startswith(("closed", "2", "4"))


def told(ask: Callable[[], Answer]) -> Told:
    try:
        answer = ask()
    except TimeoutError:
        return Told("no answer")
    except OSError as error:
        return Told(f"broken off ({type(error).__name__})")
    return Told(str(answer.status) if answer.status else "closed", answer.refused)


def interpreter() -> str:
    return os.environ.get(INTERPRETER, sys.executable)


def version() -> str:
    ask = [interpreter(), "-c", "import transformers; print(transformers.__version__)"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def served(home: world.World, *words: str) -> Iterator[Peer]:
    """`transformers serve model` in a folder, until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [interpreter(), "-c", PROGRAM, "serve", "model", "--port", str(port)]
    log = home.home / "serve.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--device", "cpu", *words],
            cwd=home.home,
            env=os.environ | OFFLINE,
            stdout=out,
            stderr=out,
        )
    resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    server = Peer(port, process, log)
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Peer) -> None:
    until = time.monotonic() + BOOT
    while told(lambda: server.raw(b"GET /health")).status != "200":
        if server.process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"did not start: {server.log.read_text()[-500:]}")
        time.sleep(0.5)


Request = Callable[[Peer], Answer]


def answered(home: world.World, requests: Mapping[str, Request]) -> dict[str, Told]:
    """Every request in turn; after one without an answer the server is started afresh."""
    ends: dict[str, Told] = {}
    while left := [name for name in requests if name not in ends]:
        with served(home) as server:
            for name in left:
                ends[name] = told(lambda ask=requests[name]: ask(server))
                if ends[name].status.startswith(("no", "broken")):
                    break
    return ends


def counted(ends: Mapping[str, Told]) -> str:
    """How often which status came."""
    counts = Counter(end.status for end in ends.values())
    return ", ".join(f"{count} × {status}" for status, count in sorted(counts.items()))


def fuzz(folder: Path, size: Size) -> Outcome:
    """Bytes that are no request, and requests of wrong types: a 4xx, or what came instead."""
    home = world.made(folder / "world")
    raw: dict[str, Request] = {
        name: lambda server, sent=sent: server.bytes(sent) for name, sent in garbage()
    }
    asked = {name: (CHAT, chat() | cells) for name, cells in CELLS.items()}
    posts: dict[str, Request] = {
        name: lambda server, path=path, body=body: server.post(path, body)
        for name, (path, body) in (asked | dict(OTHERS)).items()
    }
    ends = answered(home, raw | posts)
    broken = {name: end.status for name, end in ends.items() if end.broken}
    errors = sum(end.refused for end in ends.values())
    figure = (
        f"{len(ends)} broken or malformed requests: {counted(ends)}; "
        f"{errors} errors in OpenAI's form"
    )
    return Outcome(not broken, figure, {"version": version(), "broken": broken})


def limits(folder: Path, size: Size) -> Outcome:
    """What is too large or below zero: 400 or 413 at once?"""
    home = world.made(folder / "world")
    requests: dict[str, Request] = {
        name: lambda server, path=path, body=body: server.post(path, body)
        for name, (path, body) in too_much().items()
    }
    requests["a body of 20 MB"] = lambda server: server.post(CHAT, chat() | LARGE)
    ends = answered(home, requests)
    refused = sum(end.status in ("400", "413", "422") for end in ends.values())
    figure = (
        f"{refused} of {len(ends)} excessive requests refused with a 4xx: {counted(ends)} in "
        f"{SECONDS:.0f} s; a body of 20 MB: {ends['a body of 20 MB'].status}"
    )
    statuses = {name: end.status for name, end in ends.items()}
    return Outcome(refused == len(ends), figure, {"version": version(), "statuses": statuses})


def auth(folder: Path, size: Size) -> Outcome:
    """Bound to every address without a key: does it refuse to start, or to answer?"""
    ask = [interpreter(), "-c", PROGRAM, "serve", "--help"]
    shown = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    home = world.made(folder / "world")
    try:
        with served(home, "--host", "0.0.0.0") as server:
            status = told(lambda: server.post(CHAT, chat(max_tokens=2))).status
    except RuntimeError as error:
        if "key" not in str(error):
            raise
        status = "does not start"
    key = "an option for a key" if "api-key" in shown else "no option for a key"
    figure = f"{key}; on 0.0.0.0 a request without one: {status}"
    return Outcome(status != "200", figure, {"version": version()})
