"""What a person sees of a run: a bar on a terminal, about twenty plain lines elsewhere."""

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINES = 20


class Display(Protocol):
    """Shows the progress of a run; a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Step `step` is done; `metrics` is its line of the run log, or empty."""
        ...


class Bar:
    """A rich progress bar with loss, tokens a second and time left."""

    def __init__(self, console: Console, name: str, done: int, steps: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[summary]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(name, total=steps, completed=done, summary="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Move the bar; the words beside it change when there are new metrics."""
        if metrics:
            self._progress.update(self._task, completed=step, summary=summary(metrics))
        else:
            self._progress.update(self._task, completed=step)


class Lines:
    """Plain lines for logs and pipes: about twenty a run, and every one with an evaluation."""

    def __init__(self, console: Console, name: str, done: int, steps: int) -> None:
        self._console, self._name, self._steps = console, name, steps
        self._first, self._shown = done, done
        self._every = max(1, math.ceil(steps / PLAIN_LINES))
        self._metrics: dict[str, Any] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Print a line when one is due."""
        self._metrics = dict(metrics) or self._metrics
        due = step // self._every > self._shown // self._every or step == self._steps
        if not (due or "eval_loss" in metrics):
            return
        self._shown = step
        took = (time.monotonic() - self._began) / max(1, step - self._first)
        left = clock(took * (self._steps - step))
        self._console.print(
            f"{self._name}: step {step}/{self._steps}  {summary(self._metrics)}  {left} left",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def display(console: Console, name: str, done: int, steps: int) -> Display:
    """A bar on a terminal, else plain lines."""
    kind = Bar if console.is_terminal else Lines
    return kind(console, name, done, steps)


def summary(metrics: Mapping[str, Any]) -> str:
    """The few numbers of a log line that a person watches, such as `loss 2.310  18.2k tok/s`."""
    words: list[str] = []
    for name in ("loss", "eval_loss", "rewards/accuracies"):
        value = metrics.get(name)
        if isinstance(value, int | float):
            words.append(f"{name} {value:.3f}")
    for unit in ("tokens", "pairs", "prompts", "groups"):
        short = "tok" if unit == "tokens" else unit
        rate = metrics.get(f"{unit}_per_second")
        if isinstance(rate, int | float):
            words.append(
                f"{rate / 1000:.1f}k {short}/s" if rate >= 1000 else f"{rate:.1f} {short}/s"
            )
    return "  ".join(words)


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
