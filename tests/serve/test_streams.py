"""Many streams, those that leave, those that read slowly, and a full queue."""

import asyncio
import json
import socket
import time

import httpx
import pytest

CHAT = "/v1/chat/completions"


def body(number: int = 0, **settings: object) -> dict:
    asked = [{"role": "user", "content": f"Film {number}?"}]
    return {"model": "sft", "messages": asked, "max_tokens": 24, "seed": number, **settings}


async def read(client: httpx.AsyncClient, url: str, number: int) -> str:
    text, done = "", False
    async with client.stream("POST", url, json=body(number, stream=True)) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line:
                choices = json.loads(line.removeprefix("data: "))["choices"]
                text += choices[0]["delta"].get("content", "")
    assert done
    return text


def test_64_streams_at_once_say_what_each_says_alone(server):
    url = server.url + CHAT

    async def together() -> list[str]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            return await asyncio.gather(*(read(client, url, i) for i in range(64)))

    texts = asyncio.run(together())
    assert len(set(texts)) > 32
    for number in range(0, 64, 9):
        alone = httpx.post(url, json=body(number), timeout=30).json()
        assert alone["choices"][0]["message"]["content"] == texts[number]
    server.settle()


def open_stream(server, **settings: object) -> socket.socket:
    """A stream whose first bytes have come."""
    asked = json.dumps(body(stream=True, **settings)).encode()
    wire = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    wire.sendall(head.encode() + f"Content-Length: {len(asked)}\r\n\r\n".encode() + asked)
    assert b"200 OK" in wire.recv(64)
    return wire


def slowed(server, monkeypatch, seconds: float = 0.02) -> list[int]:
    """Make steps take a while; returns how many completions each had."""
    batch = server.models["sft"].worker._batch
    step, sizes = batch.step, []

    def slow():
        sizes.append(len(batch.live))
        time.sleep(seconds)
        return step()

    monkeypatch.setattr(batch, "step", slow)
    return sizes


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_is_not_drawn_for(server, monkeypatch, stream):
    sizes = slowed(server, monkeypatch)
    endless = {"max_tokens": 400, "stop": None}
    if stream:
        wire = open_stream(server, n=4, **endless)
    else:
        wire = socket.create_connection(("127.0.0.1", server.port))
        asked = json.dumps(body(n=4, **endless)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        wire.sendall(head.encode() + f"Content-Length: {len(asked)}\r\n\r\n".encode() + asked)
    while len(sizes) < 3:
        time.sleep(0.01)
    wire.close()
    server.settle()
    assert len(sizes) < 100  # of 400 that were asked for


def test_a_full_queue_says_when_to_come_again(small_server, monkeypatch):
    slowed(small_server, monkeypatch)
    url = small_server.url + CHAT
    wires = [open_stream(small_server, max_tokens=400) for _ in range(2)]
    refused = httpx.post(url, json=body())
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["type"] == "rate_limit_error"
    for wire in wires:
        wire.close()
    small_server.settle()
    assert httpx.post(url, json=body(), timeout=30).status_code == 200


def test_more_completions_than_could_ever_wait_are_refused(small_server):
    refused = httpx.post(small_server.url + CHAT, json=body(n=3))
    assert refused.status_code == 429


def test_a_slow_reader_holds_up_nobody_and_is_given_up(server, monkeypatch):
    from accord.serve import app

    monkeypatch.setattr(app, "PATIENCE", 0.5)
    wire = open_stream(server, n=16, max_tokens=450, logprobs=True, top_logprobs=20)
    # it reads no more; 16 x 450 tokens with 20 alternatives are more than the wire holds
    other = httpx.post(server.url + CHAT, json=body(1), timeout=30)
    assert other.status_code == 200
    server.settle()
    wire.close()


def test_memory_does_not_grow_with_streams_that_were(server):
    """Nothing is left of answers: not of whole ones, not of those that nobody read."""
    import gc

    from accord.rollout.continuous import Drawing

    for number in range(5):
        httpx.post(server.url + CHAT, json=body(number), timeout=30)
        open_stream(server, max_tokens=200).close()
    server.settle()
    time.sleep(0.1)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Drawing]


def test_a_step_that_fails_fails_its_requests_and_no_others(server, monkeypatch):
    batch = server.models["sft"].worker._batch

    def broken():
        raise RuntimeError("a fault")

    monkeypatch.setattr(batch, "step", broken)
    failed = httpx.post(server.url + CHAT, json=body(), timeout=30)
    assert failed.status_code == 500
    assert failed.json()["error"]["type"] == "server_error"
    assert "fault" not in failed.text
    # the batch was built anew
    assert httpx.post(server.url + CHAT, json=body(), timeout=30).status_code == 200
