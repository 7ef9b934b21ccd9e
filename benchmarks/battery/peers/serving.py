"""`transformers serve` under requests that are malformed, too large, or not meant for it.

It needs fastapi and uvicorn: the interpreter that has them is named by `BATTERY_SERVE_PYTHON`, and
is this one where nothing is named.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from battery.peers import world
from battery.peers.lives import OFFLINE
from battery.row import Outcome, Size

INTERPRETER = "BATTERY_SERVE_PYTHON"
PROGRAM = "from transformers.cli.transformers import main; main()"
BOOT, SECONDS = 240.0, 20.0
CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}

CELLS: Mapping[str, dict[str, Any]] = {
    "messages a string": {"messages": "Hi"},
    "no messages": {"messages": []},
    "messages null": {"messages": None},
    "a message without role": {"messages": [{"content": "Hi"}]},
    "a message without content": {"messages": [{"role": "user"}]},
    "a message that is a number": {"messages": [7]},
    "content a number": {"messages": [{"role": "user", "content": 7}]},
    "content a list of numbers": {"messages": [{"role": "user", "content": [1, 2]}]},
    "an image without address": {
        "messages": [{"role": "user", "content": [{"type": "image_url"}]}]
    },
    "role a list": {"messages": [{"role": [], "content": "Hi"}]},
    "temperature a word": {"temperature": "hot"},
    "temperature -1": {"temperature": -1},
    "top_p 5": {"top_p": 5},
    "top_p a list": {"top_p": [1]},
    "max_tokens a word": {"max_tokens": "many"},
    "max_tokens 1.5": {"max_tokens": 1.5},
    "seed a word": {"seed": "x"},
    "seed 2^70": {"seed": 2**70},
    "stop a number": {"stop": 7},
    "stop of numbers": {"stop": [1, 2]},
    "stream a word": {"stream": "yes"},
    "n a word": {"n": "two"},
    "logit_bias a list": {"logit_bias": [1]},
    "tools a word": {"tools": "all"},
    "generation_config not JSON": {"generation_config": "{"},
    "model a number": {"model": 7},
    "model unknown": {"model": "no/such"},
    "frequency_penalty a word": {"frequency_penalty": "x"},
}
BODIES: Mapping[str, tuple[str, str, bytes]] = {
    "not JSON": ("POST", CHAT, b"{"),
    "empty body": ("POST", CHAT, b""),
    "a list": ("POST", CHAT, b"[1]"),
    "null": ("POST", CHAT, b"null"),
    "bad UTF-8": ("POST", CHAT, b'{"messages": "\xff\xfe"}'),
    "nested 100,000 deep": ("POST", CHAT, b'{"messages": ' + b"[" * 100_000),
    "NaN": ("POST", CHAT, json.dumps(ASK | {"temperature": float("nan")}).encode()),
    "lone surrogate": (
        "POST",
        CHAT,
        b'{"max_tokens": 2, "messages": [{"role": "user", "content": "\\ud83d"}]}',
    ),
    "responses without input": ("POST", "/v1/responses", b"{}"),
    "responses of a number": ("POST", "/v1/responses", b'{"input": 7}'),
    "completions without prompt": ("POST", "/v1/completions", b"{}"),
    "completions of a number": ("POST", "/v1/completions", b'{"prompt": 7}'),
    "load_model of a number": ("POST", "/load_model", b'{"model": 7}'),
    "transcription of nothing": ("POST", "/v1/audio/transcriptions", b""),
    "no such path": ("GET", "/v1/nothing", b""),
    "wrong method": ("GET", CHAT, b""),
}
LARGE: tuple[Mapping[str, dict[str, Any]], ...] = (
    {
        "max_tokens -1": {"max_tokens": -1},
        "max_tokens 0": {"max_tokens": 0},
        "n 10^6": {"n": 10**6},
        "n -1": {"n": -1},
        "10,000 stops": {"stop": [f"{n}" for n in range(10_000)]},
    },
    {"max_tokens 10^9": {"max_tokens": 10**9}},
    {"body of 20 MB": {"messages": [{"role": "user", "content": "a b " * 5_000_000}]}},
)
"""Requests by the server that gets them: what some leave running would slow the others."""


def interpreter() -> str:
    return os.environ.get(INTERPRETER, sys.executable)


def version() -> str:
    told = "import transformers; print(transformers.__version__)"
    return subprocess.run(
        [interpreter(), "-c", told], capture_output=True, text=True, check=True
    ).stdout.strip()


@contextmanager
def served(folder: Path, *words: str) -> Iterator[int]:
    """`transformers serve` with a tiny model, until it answers; then its port."""
    home = world.made(folder / "world")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [interpreter(), "-c", PROGRAM, "serve", str(home.model), "--port", str(port)]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", *words],
            env=os.environ | OFFLINE,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, port, folder / "serve.log")
            yield port
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + BOOT
    while asked(port, "GET", "/health")[0] != "200":
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"transformers serve did not start: {log.read_text()[-500:]}")
        time.sleep(0.5)


def asked(port: int, method: str, path: str, body: bytes = b"") -> tuple[str, str]:
    """The status, or why there is none, and the body."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        link.request(method, path, body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        return str(answer.status), answer.read(100_000).decode("utf-8", "replace")
    except TimeoutError:
        return f"no answer in {SECONDS:.0f} s", ""
    except (OSError, http.client.HTTPException) as error:
        return f"broken off: {type(error).__name__}", ""
    finally:
        link.close()


def fuzz(folder: Path, size: Size) -> Outcome:
    """Each malformed request once: a 4xx with an error of OpenAI's form, or what came instead."""
    told, errors = {}, 0
    requests = {
        name: ("POST", CHAT, json.dumps(ASK | cells).encode()) for name, cells in CELLS.items()
    } | dict(BODIES)
    with served(folder) as port:
        usual = asked(port, "POST", CHAT, json.dumps(ASK).encode())[0]
        for name, (method, path, body) in requests.items():
            told[name], said = asked(port, method, path, body)
            errors += told[name].startswith("4") and '"error"' in said and '"message"' in said
        alive = asked(port, "GET", "/health")[0] == "200"
    counts = Counter(told.values())
    broken = [name for name, status in told.items() if not status.startswith(("2", "4"))]
    figure = (
        f"{len(told)} malformed requests: "
        f"{', '.join(f'{count} × {status}' for status, count in sorted(counts.items()))}; "
        f"{errors} errors in OpenAI's form; a plain request {usual}; "
        f"the server {'lives' if alive else 'does not answer any more'}"
    )
    return Outcome(not broken and alive, figure, {"version": version(), "statuses": told})


def limits(folder: Path, size: Size) -> Outcome:
    """What is too large or below zero: 400 or 413 at once?"""
    told, refused = {}, 0
    for number, requests in enumerate(LARGE):
        with served(folder / f"server{number}") as port:
            for name, cells in requests.items():
                began = time.monotonic()
                status = asked(port, "POST", CHAT, json.dumps(ASK | cells).encode())[0]
                told[name] = f"{status} after {time.monotonic() - began:.1f} s"
                alive = asked(port, "GET", "/health")[0] == "200"
                refused += status in ("400", "413", "422") and alive
                told[name] += "" if alive else ", no longer answers"
    figure = f"{refused} of {len(told)} refused; " + "; ".join(
        f"{name}: {what}" for name, what in told.items()
    )
    return Outcome(refused == len(told), figure, told | {"version": version()})


def auth(folder: Path, size: Size) -> Outcome:
    """Bound to every address without a key: does it refuse to start, or to answer?"""
    ask = [interpreter(), "-c", PROGRAM, "serve", "--help"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    has_key = "api-key" in told or "api_key" in told
    try:
        with served(folder, "--host", "0.0.0.0") as port:
            status = asked(port, "POST", CHAT, json.dumps(ASK).encode())[0]
    except RuntimeError as error:
        if "key" not in str(error):
            raise
        status = "does not start"
    key = "an option for a key" if has_key else "no option for a key"
    figure = f"{key}; on 0.0.0.0 a request without one: {status}"
    return Outcome(status != "200", figure, {"version": version()})
