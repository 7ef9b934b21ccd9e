"""Serving is measured as it is seen: when text comes, how much of it, and by whom."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run.py"
PAUSE = 0.02


@contextmanager
def answering(words: int, usage: int | None) -> Iterator[int]:
    """A server that streams so many words to everybody, and counts them or does not."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for word in range(words):
            await asyncio.sleep(PAUSE)
            event = {"choices": [{"delta": {"content": f"{word} "}}]}
            writer.write(f"data: {json.dumps(event)}\n\n".encode())
        if usage is not None:
            last = {"choices": [], "usage": {"completion_tokens": usage}}
            writer.write(f"data: {json.dumps(last)}\n\n".encode())
        writer.write(b"data: [DONE]\n\n")
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_tokens_are_those_the_server_counts_or_its_events() -> None:
    import serving

    with answering(3, usage=7) as port:
        assert [stream.tokens for stream in serving.wave(port, "m", 2)] == [7, 7]
    with answering(3, usage=None) as port:
        [stream] = serving.wave(port, "m", 1)
    assert stream.tokens == 3 == len(stream.times)
    assert stream.first >= PAUSE and stream.each >= PAUSE


def test_a_server_without_text_is_no_measurement() -> None:
    import serving

    with answering(0, usage=0) as port, pytest.raises(RuntimeError, match=r"no text came.*DONE"):
        serving.wave(port, "m", 1)


def test_latencies_are_medians_with_the_slowest_stream() -> None:
    from serving import Stream, latencies

    streams = [Stream(0.0, [first, first + 1.0], tokens=3) for first in (0.25, 0.5, 4.0)]
    assert latencies(streams) == {
        "first_ms": 500.0,
        "first_worst_ms": 4000.0,
        "each_ms": 500.0,
        "each_worst_ms": 500.0,
    }
    assert latencies([]) == {}


def test_a_server_that_ends_is_told_with_its_last_words() -> None:
    import serving

    command = [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]
    with pytest.raises(RuntimeError, match="no such model"), serving.started(command, 1):
        pass


def test_nothing_of_a_server_outlives_its_measurement() -> None:
    import serving

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    child = (
        "import http.server as h, subprocess, sys; subprocess.Popen(['sleep', '60'])\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        f"h.HTTPServer(('127.0.0.1', {port}), A).serve_forever()"
    )
    with serving.started([sys.executable, "-c", child], port) as process:
        assert serving.resident_bytes(process.pid) > 1 << 20
        group = process.pid
    until = time.monotonic() + 10
    while serving.resident_bytes(group) and time.monotonic() < until:
        time.sleep(0.05)  # what was killed is gone once it is reaped
    assert serving.resident_bytes(group) == 0


def test_the_table_shows_latencies_and_the_servers_memory() -> None:
    import tables
    from harness import Measured, Row

    notes = {"first_ms": 12.34, "first_worst_ms": 20, "each_ms": 5, "each_worst_ms": 6.25}
    ours = Measured([100.0, 120.0], [1.0, 1.0], notes={**notes, "server_bytes": 300 * tables.MIB})
    theirs = Measured([50.0, 40.0], [9.0, 9.0], notes={**notes, "server_bytes": tables.MIB})
    broken = Measured(error="it died")
    row = Row("serving-1", "t", "tokens", (), 1, 2, [("accord fp32", "vLLM", None)])
    measured = {"accord fp32": ours, "vLLM": theirs, "other": broken}
    header, lines = tables.columns(row, measured), tables.lines(row, measured)
    assert header[-3:] == ["first token, ms (worst)", "further token, ms (worst)", "server, MiB"]
    assert lines[0] == [
        "accord fp32",
        "110",
        "100 to 120",
        "2.5",
        "",
        "12.3 (20.0)",
        "5.0 (6.2)",
        "300",
    ]
    assert all(len(line) == len(header) for line in lines)
    held = tables.to_json(row, measured)
    # the processor's time is that of the client alone
    assert held["targets"][0] == {
        "ours": "accord fp32", "peer": "vLLM", "target": None, "ratio": 2.5, "cpu_ratio": None
    }  # fmt: skip
    again = tables.from_json("serving-1", held)
    assert tables.lines(*again) == lines


@pytest.mark.slow
def test_accord_is_measured_without_peers(tmp_path: Path) -> None:
    result, page = tmp_path / "cpu.json", tmp_path / "page.md"
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "serving-8"]
    command += ["--json", str(result), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    held = json.loads(result.read_text())["rows"]["serving-8"]["contenders"]
    assert list(held) == ["accord fp32", "accord bf16"]
    for found in held.values():
        assert found["error"] is None and len(found["rates"]) == 2
        assert found["notes"]["first_ms"] > found["notes"]["each_ms"] > 0
    assert "first token, ms (worst)" in page.read_text()
