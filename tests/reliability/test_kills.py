"""`accord run` killed at any instant and run again ends in the bytes of a run that was not.

ACCORD_KILLS sets how many times each run is killed (a quarter of them in the middle of a save) and
ACCORD_KILL_SEED when, for a longer battery than CI's:

    ACCORD_KILLS=40 ACCORD_KILL_SEED=7 pytest tests/reliability
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "tiny.yaml"
DIES_IN_FSYNC = Path(__file__).parent / "dies_in_fsync.py"
KILLS = int(os.environ.get("ACCORD_KILLS", "6"))
SEED = int(os.environ.get("ACCORD_KILL_SEED", "1"))
STEPS = {"base": 40, "sft": 20, "dpo": 20, "reward": 20, "ppo": 8, "grpo": 8, "online": 8}
FSYNCS = 160  # of the whole run several hundred: ten checkpoints and a model folder a stage
SECONDS = 9.0  # of a whole run, its start included
MIXED = [
    *(f"{stage}.precision=bf16" for stage in STEPS),
    *(f"{stage}.optimizer=muon" for stage in ("base", "sft")),
]

pytestmark = pytest.mark.slow


def start(home: Path, *words: str, fsyncs: int | None = None) -> subprocess.Popen[str]:
    """`accord run` as a process; with `fsyncs` it is killed in that call of fsync."""
    program = ["-m", "accord"] if fsyncs is None else [str(DIES_IN_FSYNC), str(fsyncs)]
    command = [sys.executable, *program, "run", str(RECIPE), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        command,
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(home: Path, *words: str) -> None:
    process = start(home, *words)
    out, errors = process.communicate()
    assert process.returncode == 0, out + errors


def killed(home: Path, draw: random.Random, words: Sequence[str]) -> bool:
    """One life of a run that may end anywhere; false if it came to its end before."""
    if draw.random() < 0.25:
        process = start(home, *words, fsyncs=draw.randint(1, FSYNCS))
    else:
        process = start(home, *words)
        try:
            process.wait(draw.uniform(0, SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
    out, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), out + errors
    return process.returncode != 0


def results(home: Path) -> dict[str, str]:
    """SHA-256 of every trained model and of the last checkpoint: weights, optimiser, cursor."""
    files = {}
    for name, steps in STEPS.items():
        folder = home / "runs" / "tiny" / name
        checkpoint = folder / "accord" / "checkpoints" / f"step-{steps}"
        trained = sorted(folder.glob("**/model.safetensors"))  # with a critic, two
        for file in (*trained, *sorted(checkpoint.iterdir())):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            files[str(file.relative_to(home))] = digest
    assert len(files) == 4 * len(STEPS) + 1
    return files


def log(home: Path, stage: str) -> list[dict[str, Any]]:
    path = home / "runs" / "tiny" / stage / "accord" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(home: Path) -> dict[str, list[tuple[int, float]]]:
    return {name: [(line["step"], line["loss"]) for line in log(home, name)] for name in STEPS}


@pytest.fixture
def home(tiny_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_data, tmp_path / "tiny-data")
    return tmp_path


def kill_and_finish(home: Path, words: Sequence[str], kills: int) -> None:
    draw = random.Random(SEED)
    for _ in range(kills):
        if not killed(home, draw, words):
            # it had come to its end: from the start again, so that later kills hit something
            shutil.rmtree(home / "runs")
    finish(home, *words)


def test_a_killed_run_ends_in_the_same_bytes(finished: Path, home: Path) -> None:
    kill_and_finish(home, (), KILLS)
    assert results(home) == results(finished)
    assert losses(home) == losses(finished)
    assert {name: len(steps) for name, steps in losses(home).items()} == STEPS


def test_so_does_one_in_bfloat16_with_muon(home: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(home / "tiny-data", whole / "tiny-data")
    finish(whole, *MIXED)
    kill_and_finish(home, MIXED, max(2, KILLS // 3))
    assert results(home) == results(whole)
    assert losses(home) == losses(whole)


def test_kills_in_a_save_are_mended(finished: Path, home: Path) -> None:
    """The first calls of fsync are those of a checkpoint, file by file."""
    for at in (6, 4, 3):
        process = start(home, fsyncs=at)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    finish(home)
    assert results(home) == results(finished)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_sigterm_saves_and_says_how_to_resume(home: Path) -> None:
    words = ["base.steps=400", *(f"{stage}.steps=1" for stage in STEPS if stage != "base")]
    base = home / "runs" / "tiny" / "base" / "accord"
    process = start(home, *words)
    wait_until(lambda: (base / "metrics.jsonl").exists() and len(log(home, "base")) > 2, process)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 75
    taken = len(log(home, "base"))
    assert 2 < taken < 400
    assert f"stopped after step {taken}" in errors
    assert f"resume: accord run {RECIPE} base.steps=400" in errors
    assert [path.name for path in (base / "checkpoints").iterdir()] == [f"step-{taken}"]
    finish(home, *words)
    assert [line["step"] for line in log(home, "base")] == list(range(1, 401))


def test_sigterm_between_steps_ends_just_as_well(home: Path) -> None:
    process = start(home)
    wait_until((home / "runs" / "tiny" / ".lock").exists, process)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 75
    assert "resume: accord run" in errors
    finish(home)
