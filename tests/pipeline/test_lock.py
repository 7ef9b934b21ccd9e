"""Two runs never write into one folder, and a dead one stops nobody."""

import signal
import subprocess
import sys

import pytest

from accord.errors import AccordError
from accord.pipeline.lock import locked

HOLD = (
    "import sys, time; from pathlib import Path; from accord.pipeline.lock import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def hold(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_living_holder_is_named_and_the_dead_one_forgotten(tmp_path):
    path = tmp_path / "run" / ".lock"
    with hold(path) as process:
        with pytest.raises(AccordError, match="another run") as caught, locked(path):
            pass
        process.kill()
    assert f"process {process.pid}" in caught.value.where


def test_a_killed_holder_lets_go(tmp_path):
    path = tmp_path / ".lock"
    with hold(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(path):
        assert path.read_text().strip().isdecimal()


def test_it_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with locked(tmp_path / ".lock"), pytest.raises(AccordError), locked(tmp_path / ".lock"):
            pass
