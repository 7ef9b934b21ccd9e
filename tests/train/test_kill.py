"""A run killed with SIGKILL at any instant and started again ends in the same bytes."""

import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import train_toy as toy

from accord.train.metrics import read_log

OPTIONS: dict[str, object] = {
    "steps": 12,
    "save_every": 1,
    "optimizer": "muon",
    "micro_batch_size": 4,
}
Start = Callable[[Path, float], BaseProcess]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Starts a run in a process that has torch loaded before it begins."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train_toy"])
    with pytest.MonkeyPatch.context() as patch:
        # The server looks for what it preloads on its own path, not on the tests'.
        patch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))
        multiprocessing.forkserver.ensure_running()

    def begin(folder: Path, seconds: float) -> BaseProcess:
        process = context.Process(
            target=toy.rank_main, args=(folder, OPTIONS | {"seconds": seconds})
        )
        process.start()
        return process

    yield begin


def finish(start: Start, folder: Path) -> bytes:
    process = start(folder, 0)
    process.join()
    assert process.exitcode == 0
    return (folder / "final.safetensors").read_bytes()


def wait_for_a_step(folder: Path, is_alive: Callable[[], bool]) -> None:
    """Until the log has a line more, so that each life of a run gets somewhere."""
    log = folder / "accord" / "metrics.jsonl"
    size = log.stat().st_size if log.exists() else 0
    while is_alive() and (not log.exists() or log.stat().st_size <= size):
        time.sleep(0.002)


def steps(folder: Path) -> list[int]:
    return [line["step"] for line in read_log(folder / "accord" / "metrics.jsonl")]


@pytest.mark.slow
def test_kills_at_random_instants_end_in_the_same_bytes(start: Start, tmp_path: Path) -> None:
    whole = finish(start, tmp_path / "whole")
    draw = random.Random(4)
    for _ in range(8):
        process = start(tmp_path / "killed", 0.005)
        wait_for_a_step(tmp_path / "killed", process.is_alive)
        time.sleep(draw.uniform(0, 0.04))
        process.kill()
        process.join()
    assert finish(start, tmp_path / "killed") == whole
    assert steps(tmp_path / "killed") == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_run_goes_on(
    start: Start, tmp_path: Path, number: int
) -> None:
    process = start(tmp_path / "cut", 0.1)
    wait_for_a_step(tmp_path / "cut", process.is_alive)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 1
    taken = steps(tmp_path / "cut")
    assert 0 < len(taken) < 12
    assert (tmp_path / "cut" / "accord" / "checkpoints" / f"step-{taken[-1]}").is_dir()
    assert finish(start, tmp_path / "cut") == finish(start, tmp_path / "whole")
    assert steps(tmp_path / "cut") == list(range(1, 13))


@pytest.mark.slow
def test_a_signal_to_the_launcher_stops_every_rank_after_the_same_step(tmp_path: Path) -> None:
    jobs = json.dumps([(str(tmp_path), OPTIONS | {"seconds": 0.1})])
    with subprocess.Popen(
        [sys.executable, toy.__file__, "2", jobs], stdout=subprocess.PIPE, text=True
    ) as process:
        wait_for_a_step(tmp_path, lambda: process.poll() is None)
        process.terminate()
        out, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert out == f"stopped {steps(tmp_path)[-1]}\n"
