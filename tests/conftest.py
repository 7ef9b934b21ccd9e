"""A tiny corpus, and one finished run of the whole chain on it, for every test that wants them."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "tiny.yaml"

Accord = Callable[..., subprocess.CompletedProcess[str]]


def write_data(folder: Path, seed: int = 1) -> Path:
    """The corpus of `examples/make_tiny_data.py`."""
    path = ROOT / "examples" / "make_tiny_data.py"
    spec = importlib.util.spec_from_file_location("make_tiny_data", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write(folder, seed)


def environment() -> dict[str, str]:
    """What `accord` runs under: one thread, its packages found wherever it is started."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one pytest run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def accord() -> Accord:
    """Runs `accord` as a user does; fails with its output where the exit code is another."""

    def run(
        *words: str | Path, cwd: Path | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "accord", *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=environment(), check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def finished(shared: Path, accord: Accord) -> Path:
    """A folder with `tiny-data` and `runs/tiny`, the whole chain of examples/tiny.yaml.

    Read only: `tiny_home` is a copy of one's own.
    """
    home = shared / "finished"
    with one_at_a_time(shared / "finished.lock"):
        if not (home / "done").exists():
            write_data(home / "tiny-data")
            accord("run", RECIPE, cwd=home)
            (home / "done").touch()
    return home


@pytest.fixture
def tiny_home(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished` to change."""
    return shutil.copytree(finished, tmp_path / "home")


@pytest.fixture(scope="session")
def tiny_data(shared: Path) -> Path:
    """The folder `tiny-data`."""
    with one_at_a_time(shared / "tiny-data.lock"):
        return write_data(shared / "tiny-data")
