"""`accord run` killed at any instant and run again ends in the bytes of a run that was not.

ACCORD_KILLS sets how many times each run is killed (a quarter of them in the middle of a save) and
ACCORD_KILL_SEED when; `make battery KILLS=100` is the whole of it.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from battery import kills

KILLS = int(os.environ.get("ACCORD_KILLS", "4"))
SEED = int(os.environ.get("ACCORD_KILL_SEED", "1"))
SECONDS = 6.0  # of a whole run

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tiny_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_data, tmp_path / "tiny-data")
    return tmp_path


def test_a_killed_run_ends_in_the_same_bytes(finished: Path, home: Path) -> None:
    """Some stages save in the background; the run they are compared with does not."""
    lives = kills.kill_and_finish(home, finished, kills.LATE, KILLS, SEED, SECONDS)
    assert lives.kills == KILLS and lives.whole > 0
    assert not lives.faults
    taken = {name: len(steps) for name, steps in kills.losses(home).items()}
    assert taken == kills.STEPS


def test_so_does_one_in_bfloat16_with_muon(home: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(home / "tiny-data", whole / "tiny-data")
    seconds = kills.finish(whole, *kills.MIXED)
    some = max(2, KILLS // 3)
    lives = kills.kill_and_finish(home, whole, kills.MIXED, some, SEED, seconds)
    assert lives.kills == some and not lives.faults


def test_kills_in_a_save_are_mended(finished: Path, home: Path) -> None:
    """The first calls of fsync are those of a checkpoint, file by file."""
    for at in (6, 4, 3):
        process = kills.start(home, fsyncs=at)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    kills.finish(home)
    assert not list(kills.differences(home, finished))


def test_a_difference_is_told_by_name(finished: Path, tiny_home: Path) -> None:
    path = tiny_home / "runs" / "tiny" / "ppo" / "accord" / "critic" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert list(kills.differences(tiny_home, finished)) == [str(path.relative_to(tiny_home))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(home: Path, number: int) -> None:
    short = [f"{stage}.steps=1" for stage in kills.STEPS if stage != "base"]
    process = kills.start(home, "base.steps=400", "base.async_save=true", *short)
    stop = kills.stopped(home, process, "base", number, 3)
    assert not list(stop.faults(3)), stop.said
    assert 2 < stop.logged < 400 and stop.saved == (f"step-{stop.logged}",)
    assert stop.resume[0].startswith(f"accord run {kills.RECIPE} base.steps=400")
    if number == signal.SIGTERM:
        kills.finish(home, "base.steps=400", *short)
        assert [line["step"] for line in kills.log(home, "base")] == list(range(1, 401))


def test_sigterm_between_steps_ends_just_as_well(home: Path) -> None:
    process = kills.start(home)
    kills.holding(home, process)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 75
    assert "resume: accord run" in errors
    kills.finish(home)
