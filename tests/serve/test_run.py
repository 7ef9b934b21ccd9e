"""`accord serve` as a process: it says where it is, drains, and ends."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest


@pytest.fixture
def process(folders, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCORD_API_KEY": "in-the-environment"}
    command = [sys.executable, "-m", "accord", "serve", *folders, "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        yield running
        running.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_it_finishes_what_is_under_way_and_ends(process, number):
    line = process.stdout.readline()
    url = re.search(r"http://\S+", line).group()
    assert url.startswith("http://127.0.0.1:")
    assert "sft, dpo" in line
    key = {"authorization": "Bearer in-the-environment"}
    asked = {
        "model": "dpo", "messages": [{"role": "user", "content": "How?"}], "stream": True,
        "max_tokens": 300, "stream_options": {"include_usage": True},
    }  # fmt: skip
    for _ in range(100):
        try:
            httpx.get(url + "/health")
            break
        except httpx.ConnectError:
            time.sleep(0.1)
    last = ""
    with httpx.stream("POST", url + "/v1/chat/completions", json=asked, headers=key) as answer:
        events = answer.iter_lines()
        next(events)
        process.send_signal(number)
        for event in events:
            last = event or last
    assert last == "data: [DONE]"
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0, out
    assert "in-the-environment" not in line + out
