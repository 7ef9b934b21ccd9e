"""The server under requests that are none, and that ask too much."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from battery.row import Outcome, Row, Size
from battery.serving import (
    CHAT,
    COMPLETIONS,
    Server,
    chat,
    served,
)
from battery.suite import through_tests

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
)
