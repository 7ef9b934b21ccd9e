"""A peer's process: forked off a server that has imported TRL once, its output in a file.

A life is a process like any other: it can be killed, runs out of memory alone and exits by itself.
Only the seconds of the import are saved, so that a kill falls into the run and not before it.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

IMPORTED = ["trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "datasets"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class Ended(NamedTuple):
    """How a life ended: exit code (minus the signal if killed), what it said, seconds, peak."""

    code: int
    said: str
    seconds: float
    peak_bytes: int = 0

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class Life:
    """`work(*arguments)` in a process of its own; `output` gets what it prints."""

    def __init__(self, output: Path, work: Callable[..., None], *arguments: Any) -> None:
        os.environ.update(OFFLINE)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(b"")
        self.output, self._began, self._peak = output, time.monotonic(), 0
        self._process = context.Process(target=_lived, args=(output, work, arguments))
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self, kind: signal.Signals) -> None:
        pid = self._process.pid
        if pid is not None and self.alive:
            os.kill(pid, kind)

    def ended(self, seconds: float) -> Ended:
        """Wait; a life that goes on for longer than `seconds` is killed."""
        until = time.monotonic() + seconds
        while self.alive and time.monotonic() < until:
            self._peak = max(self._peak, _peak_bytes(self._process.pid))
            self._process.join(0.02)
        self.stop(signal.SIGKILL)
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return Ended(code, self.said(), time.monotonic() - self._began, self._peak)


def lived(output: Path, seconds: float, work: Callable[..., None], *arguments: Any) -> Ended:
    """A life from its beginning to its end, `seconds` at most."""
    return Life(output, work, *arguments).ended(seconds)


def versions() -> str:
    """The peer by its name and version."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("trl", "transformers"))


def _lived(output: Path, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work(*arguments)
    except KeyboardInterrupt:
        # what the interpreter itself does with a script that leaves it to it
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _peak_bytes(pid: int | None) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
