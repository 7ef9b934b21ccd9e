"""SIGTERM and Ctrl-C end a run at the end of a step, not in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop; its checkpoint is saved and a rerun goes on from it.

    Args:
        folder: The stage's folder.
        step: Optimiser steps that are done and saved.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        super().__init__(f"stopped after step {step}; saved in {folder}; run it again to go on")

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[Path, int]]:
        return type(self), (self.folder, self.step)


class StopRequest:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: note the wish; a second Ctrl-C stops at once."""
        if number == signal.SIGINT and self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request that the loop reads; a second Ctrl-C is immediate.

    Outside the main thread, where Python allows no handlers, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
