"""The server under many streams at once, and readers that leave or do not read."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from battery.row import Outcome, Row, Size
from battery.serving import CHAT, QUEUE, SLOTS, Server, chat, served

MEBIBYTE = 2**20


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


STREAMS = Row(
    "streams",
    "64 streams, disconnects, slow clients",
    "cancelled within a token; memory flat; 429 and Retry-After when full",
    streams,
)
