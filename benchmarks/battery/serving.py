"""`accord serve` as a process of its own, and requests to it down to single bytes."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SLOTS, QUEUE = 64, 16
SECONDS = 60.0
"""After which a server that does not answer is said to hang."""
PATIENCE = 0.5
"""Seconds until a client that has sent less than a request says that this was all."""


@dataclass(frozen=True)
class Answer:
    """What came back: status 0 where the connection was closed without an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def says(self) -> dict[str, Any]:
        """The body's JSON object; empty if it is none."""
        with suppress(ValueError):
            value = json.loads(self.body)
            return value if isinstance(value, dict) else {}
        return {}

    @property
    def refused(self) -> bool:
        """Whether it is a refusal in the form that OpenAI's clients read."""
        error = self.says.get("error")
        return 400 <= self.status < 500 and isinstance(error, dict) and set(error) == {
            "message", "type", "param", "code",
        }  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server that runs, and what it said."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    key: str | None = None

    def memory(self) -> int:
        """Bytes that the process holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def alive(self) -> bool:
        """Whether it answers."""
        return self.process.poll() is None and self.raw(b"GET /health").status == 200

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def raw(self, start: bytes, headers: bytes = b"", body: bytes = b"") -> Answer:
        """Send a request line, headers and a body, and read to the end."""
        head = b"%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n" % (start, headers)
        with self.connect() as wire:
            wire.sendall(head + body)
            return read(wire)

    def bytes(self, sent: bytes) -> Answer:
        """Send bytes that may be no request, and read to the end.

        Where nothing comes for a while, the server is told that no more will be sent.
        """
        with self.connect() as wire:
            with suppress(OSError):  # it may have refused and closed before all was sent
                wire.sendall(sent)
            wire.settimeout(PATIENCE)
            try:
                wire.recv(1, socket.MSG_PEEK)
            except TimeoutError:
                wire.shutdown(socket.SHUT_WR)
            except ConnectionError:
                return Answer(0, {}, b"")
            wire.settimeout(SECONDS)
            return read(wire)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """Post JSON, written out where it is bytes already."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.key is not None:
            headers = {"Authorization": f"Bearer {self.key}", **headers}
        lines = {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        return self.raw(b"POST " + path.encode(), head, text)

    def stream(self, body: Mapping[str, Any], buffer: int = 0) -> socket.socket:
        """Ask for a stream; its first bytes have come."""
        text = json.dumps({**body, "stream": True}).encode()
        wire = self.connect()
        if buffer:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{key}"
            f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        wire.sendall(head.encode() + text)
        first = wire.recv(15)
        assert b" 200" in first, first
        return wire


def read(wire: socket.socket) -> Answer:
    """Read an answer to the connection's end."""
    parts = []
    with suppress(ConnectionError):
        while part := wire.recv(1 << 16):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    found = re.match(r"HTTP/1\.\d (\d{3})", lines[0])
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    # bytes left over from a broken request are answered too, on the same connection
    length = headers.get("content-length", "")
    whole = body[: int(length)] if length.isdecimal() else body
    return Answer(int(found[1]) if found else 0, headers, whole)


def chat(number: int = 0, **settings: object) -> dict[str, Any]:
    """A request for an answer of a few tokens."""
    asked = [{"role": "user", "content": f"Film {number}?"}]
    return {"model": "model", "messages": asked, "max_tokens": 8, "seed": number, **settings}


def build(folder: Path) -> None:
    """A model that rarely ends an answer by itself."""
    import torch

    from accord.checkpoint.folder import save_model
    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    texts = ["This is one of the best films of the year.", "A film that is dull and tired."]
    tokenizer = Tokenizer.train(texts * 3, vocab_size=300, chat_template="chatml")
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
    )
    model = Decoder.init(config, 1).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
        model.norm.weight.mul_(torch.randn(32, generator=draw))
    save_model(model, folder, tokenizer)


@contextmanager
def served(home: Path, key: str | None = None) -> Iterator[Server]:
    """`accord serve model` in a folder; what it prints goes to a file there."""
    if not (home / "model").exists():
        build(home / "model")
    command = [sys.executable, "-m", "accord", "serve", "model", "--port", "0"]
    command += ["--slots", str(SLOTS), "--queue", str(QUEUE)]
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    environment |= {} if key is None else {"ACCORD_API_KEY": key}
    log = home / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=out, stderr=out)
    try:
        yield Server(_port(process, log), process, log, key)
    finally:
        process.terminate()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the server says it listens at, once it answers there."""
    while process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)\n", log.read_text()):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health", timeout=SECONDS)
                return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(log.read_text())
