"""Serving beside `transformers serve` and vLLM: first token, each further token, throughput.

    python benchmarks/serving.py [--streams 1 8 64] [--rounds 3] [--model DIR] [--vllm VENV]
        [--json FILE]

Every server gets the same chat requests, streamed, from this process: 64 tokens each, at
temperature 1, all streams at once. Without `--model` it is a model of random weights, which nearly
never ends an answer by itself. `transformers serve` is measured where its packages are installed
(`pip install fastapi`), vLLM where an environment that has it is given. Tokens are those that the
server counts, or the events with text where it does not count them.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RESULT = Path(__file__).resolve().parent / "results" / "serving.json"
NEW = 64
WAIT = 180.0  # seconds until a server must answer


@dataclass(frozen=True)
class Contender:
    """A server: its name, how it is started, what its model is called."""

    name: str
    command: list[str]
    model: str
    health: str = "/health"


@dataclass
class Stream:
    """When a stream was asked for, and when its text came."""

    began: float
    times: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def first(self) -> float:
        return self.times[0] - self.began

    @property
    def each(self) -> float:
        """Seconds of a token after the first."""
        return (self.times[-1] - self.times[0]) / max(self.tokens - 1, 1)


def contenders(folder: Path, port: int, vllm: Path | None) -> list[Contender]:
    """The servers that can be measured here."""
    at = ["--port", str(port)]
    found = [
        Contender(
            "accord", [sys.executable, "-m", "accord", "serve", str(folder), *at], folder.name
        )
    ]
    if find_spec("transformers") and find_spec("fastapi"):
        binary = str(Path(sys.executable).parent / "transformers")
        serve = [binary, "serve", *at, "--device", "cpu", "--dtype", "float32"]
        found.append(Contender("transformers serve", serve, str(folder)))
        found.append(
            Contender(
                "transformers serve, continuous batching",
                [*serve, "--continuous-batching"],
                str(folder),
            )
        )
    if vllm is not None:
        serve = [str(vllm / "bin" / "vllm"), "serve", str(folder), *at, "--dtype", "float32"]
        found.append(Contender("vLLM (CPU)", serve, str(folder)))
    return found


@contextmanager
def started(contender: Contender, port: int) -> Iterator[None]:
    """The server, from its first answer on."""
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            contender.command, env=os.environ | quiet, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + WAIT
            while not answers(port, contender.health):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(said.read().decode(errors="replace")[-2000:])
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port: int, path: str) -> bool:
    """Whether something answers there with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
            wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return b" 200 " in wire.recv(64)
    except OSError:
        return False


async def one(port: int, model: str, number: int) -> Stream:
    """Ask, and note when text comes; plain sockets, so that the client costs little."""
    asked = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": f"Tell me about film number {number}."}],
            "max_tokens": NEW,
            "temperature": 1.0,
            "seed": number,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    stream = Stream(time.perf_counter())
    writer.write(head.encode() + asked)
    counted = 0
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        now, event = time.perf_counter(), json.loads(line[6:])
        if event.get("usage"):
            counted = event["usage"]["completion_tokens"]
        if any(choice["delta"].get("content") for choice in event.get("choices", ())):
            stream.times.append(now)
    writer.close()
    if not stream.times:
        raise RuntimeError(f"{model} sent no text")
    stream.tokens = counted or len(stream.times)
    return stream


async def together(port: int, model: str, count: int) -> tuple[list[Stream], float]:
    """So many streams at once, and how long they took."""
    began = time.perf_counter()
    streams = await asyncio.gather(*(one(port, model, number) for number in range(count)))
    return list(streams), time.perf_counter() - began


def measured(contender: Contender, port: int, counts: list[int], rounds: int) -> dict[str, Any]:
    """Medians by how many streams there were."""
    figures: dict[str, Any] = {}
    with started(contender, port):
        asyncio.run(together(port, contender.model, 1))  # warms up
        for count in counts:
            streams: list[Stream] = []
            rates: list[float] = []
            for _ in range(rounds):
                its, seconds = asyncio.run(together(port, contender.model, count))
                streams += its
                rates.append(sum(stream.tokens for stream in its) / seconds)
            figures[str(count)] = {
                "first_ms": 1000 * statistics.median(s.first for s in streams),
                "first_worst_ms": 1000 * max(s.first for s in streams),
                "each_ms": 1000 * statistics.median(s.each for s in streams),
                "tokens_per_second": statistics.median(rates),
                "rounds": rates,
            }
    return figures


def random_model(folder: Path) -> Path:
    """A folder with a random Llama of the study's size and a tokenizer of its own."""
    from accord.checkpoint.folder import save_model
    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    texts = [path.read_text() for path in sorted(Path(__file__).parent.parent.glob("docs/*.md"))]
    tokenizer = Tokenizer.train(texts, vocab_size=4096, chat_template="chatml")
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=688,
        max_position_embeddings=512,
    )
    save_model(Decoder.init(config, 1), folder, tokenizer)
    return folder


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| server | streams | first token, ms (worst) | each further, ms | tokens a second |",
        "|---|---|---|---|---|",
    ]
    for name, by_count in results.items():
        for count, found in by_count.items():
            lines.append(
                f"| {name} | {count} | {found['first_ms']:.0f} ({found['first_worst_ms']:.0f}) "
                f"| {found['each_ms']:.1f} | {found['tokens_per_second']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--vllm", type=Path, metavar="VENV")
    parser.add_argument("--only", metavar="NAME", help="servers whose name holds this")
    parser.add_argument("--json", type=Path, default=RESULT)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (chosen.model or random_model(Path(scratch) / "policy")).resolve()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        results: dict[str, Any] = {}
        for contender in contenders(folder, port, chosen.vllm):
            if chosen.only and chosen.only not in contender.name:
                continue
            print(f"measuring {contender.name}", file=sys.stderr, flush=True)
            results[contender.name] = measured(contender, port, chosen.streams, chosen.rounds)
            # what is measured stays, should a later server fail
            chosen.json.parent.mkdir(exist_ok=True)
            held = {"cores": os.cpu_count(), "load": os.getloadavg(), "servers": results}
            chosen.json.write_text(json.dumps(held, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
