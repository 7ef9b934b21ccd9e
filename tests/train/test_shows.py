"""What is said of a run while it trains: on logged lines, once, and without a mark on the run."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import train_toy as toy
from rich.console import Console

from accord.train import Trainer
from accord.train.metrics import read_log


class Noted:
    """A watcher that keeps what it saw, and speaks at some steps."""

    def __init__(self, *speaks: int) -> None:
        self.seen: list[int] = []
        self.speaks = speaks

    def __call__(self, line: Mapping[str, Any]) -> Iterator[str]:
        self.seen.append(line["step"])
        if line["step"] in self.speaks:
            yield f"something at {line['step']}"


def run(folder: Path, watch: Noted | None, steps: int = 6, **settings: Any) -> tuple[Trainer, str]:
    said = io.StringIO()
    chosen = toy.config(steps=steps, **settings)
    console = Console(file=said, width=200)
    trainer = Trainer(
        toy.model(), toy.step, toy.Rows(steps, 8), chosen, folder, console=console, watch=watch
    )
    trainer.fit()
    return trainer, said.getvalue()


def test_logged_lines_are_watched_and_what_is_said_is_printed(tmp_path: Path) -> None:
    watch = Noted(2, 3)
    _, said = run(tmp_path, watch, log_every=2, save_every=6)
    assert watch.seen == [1, 2, 4, 6] == [line["step"] for line in read_log(log_of(tmp_path))]
    assert said.count("something at") == 1 and "something at 2" in said


def test_a_watched_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    one, _ = run(tmp_path / "a", None)
    other, _ = run(tmp_path / "b", Noted(1, 2, 3))
    left, right = one.export_state(), other.export_state()
    assert all(left[name].numpy().tobytes() == right[name].numpy().tobytes() for name in left)


def test_a_resumed_run_says_nothing_twice(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stopping(model: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) > 4:
            raise Stopped
        return toy.step(model, batch)

    calls: list[int] = []
    chosen = toy.config(steps=6, save_every=2)
    first = Noted(1, 2)
    trainer = Trainer(
        toy.model(),
        stopping,
        toy.Rows(6, 8),
        chosen,
        tmp_path,
        console=Console(quiet=True),
        watch=first,
    )
    with pytest.raises(Stopped):
        trainer.fit()
    watch = Noted(1, 2, 5)
    _, said = run(tmp_path, watch, save_every=2)
    assert first.seen == [1, 2, 3, 4] and watch.seen == [1, 2, 3, 4, 5, 6]
    assert [w for w in said.split("\n") if "something" in w] == ["something at 5"]


def log_of(folder: Path) -> Path:
    return folder / "accord" / "metrics.jsonl"
