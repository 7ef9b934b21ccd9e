"""Contenders side by side: one process each, waiting at a gate, only one of them running at a time.

A contender is an ordinary training run or loop that calls `gate.step()` when a step begins. The
gate holds it there until the harness sends it through for its share of a round: compiled graphs,
caches and optimiser state stay warm, no contender disturbs another's memory, and what the machine
does meanwhile falls on all of them alike. A step lasts until the next one begins, so that data
loading, logging and whatever else the peer's own loop does is counted.
"""

import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from accord.peak import peak_resident_bytes


class Finished(BaseException):
    """The harness has measured enough; ends the contender's run from within its step."""


class Seconds(NamedTuple):
    """By the wall, and by the processor's clock, which a busy machine disturbs less."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Seconds":
        return cls(time.perf_counter(), time.process_time())

    def since(self, then: "Seconds") -> "Seconds":
        return Seconds(self.wall - then.wall, self.cpu - then.cpu)


@dataclass
class Report:
    """What a contender tells between two rounds."""

    steps: list[Seconds] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    waits_for: str | None = None
    error: str | None = None


class Gate:
    """A contender's side of the harness."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._report = pipe, Report()
        self._left, self._began = 0, None

    def step(self) -> None:
        """Mark the start of a step; waits here between rounds."""
        now = Seconds.now()
        if self._began is not None:
            self._report.steps.append(now.since(self._began))
        if self._left == 0:
            self._left = self._exchange()
        self._left -= 1
        self._began = Seconds.now()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done once before training, while no other contender runs."""
        self._report.waits_for = name
        self._exchange()
        began = Seconds.now()
        yield
        took = Seconds.now().since(began)
        self._report.notes |= {f"{name}_seconds": took.wall, f"{name}_cpu_seconds": took.cpu}

    def note(self, name: str, value: float) -> None:
        """Keep a number beside the times, such as the first loss."""
        self._report.notes.setdefault(name, value)

    def latest(self, name: str, value: float) -> None:
        """Keep a number that grows truer with every step, such as a median over all of them."""
        self._report.notes[name] = value

    @property
    def notes(self) -> Mapping[str, float]:
        """What was noted so far."""
        return self._report.notes

    def _exchange(self) -> int:
        self._report.peak_bytes = peak_resident_bytes()
        self._pipe.send(self._report)
        notes = self._report.notes
        self._report = Report(notes=notes)
        steps = self._pipe.recv()
        if not steps:
            raise Finished
        return steps


@dataclass(frozen=True)
class Contender:
    """Who runs.

    Args:
        name: As the table shows it.
        run: A module's function `run(gate, **settings)`.
        work: Tokens or pairs of one step.
        settings: Plain values that a process can be sent.
    """

    name: str
    run: Callable[..., None]
    work: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One kind of work, and who is compared at it.

    Args:
        key: What `--only` calls it.
        title: What is done, with its sizes.
        unit: Of the work, such as tokens.
        contenders: Who does it.
        steps: Steps of each in one round.
        rounds: Measured rounds; one more warms up.
        targets: (ours, peer, ratio that was asked for; none: only compared).
        remarks: Sentences below the table, on what a contender does or leaves out.
        beside: (ours, peer): compared in one column, where every one of ours has its own peer.
    """

    key: str
    title: str
    unit: str
    contenders: Sequence[Contender]
    steps: int
    rounds: int
    targets: Sequence[tuple[str, str, float | None]] = ()
    remarks: Sequence[str] = ()
    beside: Sequence[tuple[str, str]] = ()


@dataclass
class Measured:
    """A contender's rounds.

    Args:
        rates: Work a second of each round, by the wall.
        cpu_rates: The same by the processor's clock.
        loaded_bytes: Peak resident memory before the first step (libraries, weights, data).
        peak_bytes: Peak resident memory at the end.
        notes: What the contender noted.
        error: Why it has no figures, if so.
    """

    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)
    loaded_bytes: int = 0
    peak_bytes: int = 0
    notes: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rates) if self.rates else float("nan")


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Median over rounds of the two rates' ratio: what slows a whole round cancels."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


class Worker:
    """A contender's process, seen from the harness."""

    def __init__(self, contender: Contender, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._work = contender.work
        self.measured = Measured()
        self._process = spawn.Process(target=_work, args=(contender, theirs, threads), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, steps: int) -> None:
        """Let it run so many steps; 0 ends it."""
        if self.measured.error is None:
            self._pipe.send(steps)

    def receive(self) -> Report:
        """Wait for what it tells at the gate."""
        if self.measured.error is not None:
            return Report()
        try:
            report: Report = self._pipe.recv()
        except EOFError:
            report = Report(error="the process died")
        self.measured.error = report.error
        self.measured.notes |= report.notes
        self.measured.peak_bytes = max(report.peak_bytes, self.measured.peak_bytes)
        return report

    def prepare(self) -> None:
        """Wait until it stands before its first step, granting it its phases."""
        while self.receive().waits_for is not None:
            self.send(1)
        self.measured.loaded_bytes = self.measured.peak_bytes

    def warm_up(self, steps: int) -> None:
        """A round that does not count; what it took (compiling, say) is noted."""
        self.send(steps)
        times = self.receive().steps
        self.measured.notes["warm_up_seconds"] = sum(t.wall for t in times)

    def take(self, steps: int) -> None:
        """A measured round."""
        self.send(steps)
        times = self.receive().steps
        if times:
            self.measured.rates.append(self._work * len(times) / sum(t.wall for t in times))
            self.measured.cpu_rates.append(self._work * len(times) / sum(t.cpu for t in times))

    def end(self) -> None:
        """Stop it; it leaves by itself or is made to."""
        self.send(0)
        self._process.join(timeout=20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def measure(row: Row, threads: int, tell: Callable[[str], None]) -> dict[str, Measured]:
    """Run a row's contenders in turn, round after round."""
    workers = {c.name: Worker(c, threads) for c in row.contenders}
    try:
        for name, worker in workers.items():
            tell(f"{row.key}: loading {name}")
            worker.prepare()
        for name, worker in workers.items():
            tell(f"{row.key}: warming up {name}")
            worker.warm_up(row.steps)
        for turn in range(row.rounds):
            for name, worker in workers.items():
                tell(f"{row.key}: round {turn + 1} of {row.rounds}, {name}")
                worker.take(row.steps)
    finally:
        for worker in workers.values():
            worker.end()
    return {name: worker.measured for name, worker in workers.items()}


def _work(contender: Contender, pipe: Connection, threads: int) -> None:
    import logging
    import warnings

    import torch

    # a peer's own warnings and progress lines would tear the table
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    try:
        contender.run(Gate(pipe), **contender.settings)
    except Finished:
        return
    except Exception:
        pipe.send(Report(error=traceback.format_exc()))
