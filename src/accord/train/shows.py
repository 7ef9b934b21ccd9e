"""What is shown of a run while it trains: progress, trackers, warnings of whoever watches it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.train.metrics import RunLog, TensorBoard, read_log
from accord.train.progress import Display, display

Show = Callable[[int, Mapping[str, Any]], None]
"""Gets each step's number, and its line of the log or an empty mapping."""
Watcher = Callable[[Mapping[str, Any]], Iterable[str]]
"""Gets each line of the log, and gives what is to be said about the run so far."""


def open_shows(
    stack: ExitStack,
    console: Console,
    folder: Path,
    steps: tuple[int, int],
    trackers: Sequence[str],
) -> list[Show]:
    """The display of a stage's progress and its trackers, closed with `stack`.

    Args:
        stack: Closes them.
        console: Where progress is shown.
        folder: The stage's.
        steps: Steps done, and of the whole run.
        trackers: Names from the configuration.

    Raises:
        AccordError: A tracker is not installed.
    """
    done, total = steps
    shown: Display = display(console, folder.name, done, total)
    shows: list[Show] = [stack.enter_context(shown).update]
    if "tensorboard" in trackers:
        board = TensorBoard(folder / "accord" / "tensorboard", done)
        stack.callback(board.close)
        shows.append(board.log)
    return shows


def watching(watch: Watcher, log: RunLog, warn: Callable[[str], None]) -> Show:
    """Shows what `watch` says about logged lines.

    What it says about the lines of an interrupted run was said then: a resumed run shows it those
    first, and prints nothing of them.
    """
    for line in read_log(log.path) if log.path.exists() else []:
        tuple(watch(line))

    def show(_: int, line: Mapping[str, Any]) -> None:
        for sentence in watch(line) if line else ():
            warn(sentence)

    return show
