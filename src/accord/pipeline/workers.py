"""A pool of worker processes: stages start when their inputs stand and memory allows it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from accord.errors import AccordError
from accord.pipeline.files import read_json
from accord.pipeline.memory import whole_peak
from accord.pipeline.worker import STOPPED

POLL = 0.05
"""Seconds between two looks at the workers."""


@dataclass(frozen=True)
class Job:
    """A stage that has to run.

    Args:
        key: Of its node.
        name: Of the stage, by which its need of memory is known.
        after: Keys of jobs that must end well before it starts.
        line: What its worker is told.
        outcome: Where its worker writes how it ended; its log lies beside.
    """

    key: str
    name: str
    after: frozenset[str]
    line: str
    outcome: Path

    @property
    def log(self) -> Path:
        """What the worker printed."""
        return self.outcome.with_suffix(".log")


@dataclass(frozen=True)
class Limits:
    """What the pool may take.

    Args:
        workers: Processes at a time.
        threads: Of each; none: whatever OMP_NUM_THREADS says.
        memory: Bytes of all workers together.
        needs: Stage name to the most bytes that one held before; those that end now add theirs.
        default: Bytes of a stage that `needs` does not know.
    """

    workers: int
    threads: int
    memory: int
    needs: Mapping[str, int]
    default: int


@dataclass
class Outcome:
    """How a pool's jobs ended: keys that ended well, errors of those that failed, and the rest."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, AccordError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    stopped: bool = False


@dataclass
class _Pool:
    """The processes that run now."""

    limits: Limits
    needs: dict[str, int]
    running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = field(default_factory=dict)

    def need(self, job: Job) -> int:
        """Bytes that a job is taken to need."""
        return self.needs.get(job.name, self.limits.default)

    def fits(self, job: Job) -> bool:
        """Whether a job may start now; one alone always may, however much it needs."""
        if not self.running:
            return True
        held = sum(self.need(other) for other, _ in self.running.values())
        free = held + self.need(job) <= self.limits.memory
        return free and len(self.running) < self.limits.workers

    def start(self, job: Job) -> None:
        job.outcome.parent.mkdir(parents=True, exist_ok=True)
        job.outcome.unlink(missing_ok=True)
        environment = {"OMP_NUM_THREADS": str(self.limits.threads), **os.environ}
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        with job.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the study alone, which stops its workers.
            process = subprocess.Popen(
                [sys.executable, "-m", "accord.pipeline.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.running[job.key] = job, process
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; its exit code says so at the next look
            process.stdin.write(f"{job.line}\n".encode())
            process.stdin.flush()

    def ended(self) -> Iterator[tuple[Job, int]]:
        """Jobs whose processes have ended since the last look, with their exit codes."""
        for key, (job, process) in list(self.running.items()):
            code = process.poll()
            if code is not None:
                _close(process)
                del self.running[key]
                self.learn(job)
                yield job, code

    def learn(self, job: Job) -> None:
        """Note what a job took that has ended well."""
        peak = whole_peak(job.outcome)
        if peak:
            self.needs[job.name] = max(peak, self.needs.get(job.name, 0))

    def stop(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        for _, process in self.running.values():
            how(process)


def run(jobs: list[Job], limits: Limits, say: Callable[[Job, str], None]) -> Outcome:
    """Run jobs in the order given, as far as their inputs, the workers and memory allow.

    A job that fails leaves out what needs it; the others go on. Ctrl-C and SIGTERM ask the workers
    to save and end; a second one kills them.

    Args:
        jobs: Inputs before what needs them.
        limits: What may run at a time.
        say: Told of every start and end.
    """
    outcome, waiting = Outcome(), {job.key: job for job in jobs}
    with _pool(limits) as pool:
        try:
            while waiting or pool.running:
                _drop_hopeless(waiting, outcome)
                for job in _ready(waiting, pool):
                    pool.start(waiting.pop(job.key))
                    say(job, "started")
                _look(pool, outcome, say)
        except BaseException as error:
            outcome.stopped = True
            outcome.left += waiting
            pool.stop(subprocess.Popen.terminate)
            while pool.running:
                _look(pool, outcome, say)
            if not isinstance(error, KeyboardInterrupt):
                raise
    return outcome


def _look(pool: _Pool, outcome: Outcome, say: Callable[[Job, str], None]) -> None:
    """Wait a moment, then note which jobs have ended, and how."""
    time.sleep(POLL if pool.running else 0)
    for job, code in pool.ended():
        _note(job, code, outcome, say)


@contextmanager
def _pool(limits: Limits) -> Iterator[_Pool]:
    """A pool that leaves no process behind, however its block ends."""
    pool = _Pool(limits, dict(limits.needs))
    try:
        yield pool
    finally:
        pool.stop(subprocess.Popen.kill)
        for _, process in pool.running.values():
            process.wait()
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Let go of a process's input; what it did not read before it died is dropped."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def _ready(waiting: Mapping[str, Job], pool: _Pool) -> Iterator[Job]:
    """Jobs that may start now, one after another, as each is started."""
    for job in list(waiting.values()):
        blocked = any(key in waiting or key in pool.running for key in job.after)
        if not blocked and pool.fits(job):
            yield job


def _drop_hopeless(waiting: dict[str, Job], outcome: Outcome) -> None:
    """Leave out, once and for all, what needs a job that failed or was left out itself."""
    lost = {*outcome.failed, *outcome.left}
    for key, job in list(waiting.items()):
        if job.after & lost:
            del waiting[key]
            outcome.left.append(key)
            lost.add(key)


def _note(job: Job, code: int, outcome: Outcome, say: Callable[[Job, str], None]) -> None:
    if code == 0:
        outcome.done.append(job.key)
        say(job, "done")
    elif outcome.stopped and (code < 0 or code == STOPPED):
        outcome.left.append(job.key)
        say(job, "saved")
    else:
        outcome.failed[job.key] = _error(job, code)
        say(job, "failed")


def _error(job: Job, code: int) -> AccordError:
    """What a worker says of its end, or what its exit code says."""
    told = read_json(job.outcome)
    if "what" in told:
        return AccordError(told["what"], told.get("where", ""), told.get("fix", ""))
    if code == STOPPED:
        return AccordError("it was asked to stop from outside")
    if code < 0:
        hint = "if memory was short, give less with --memory or --workers" if code == -9 else ""
        return AccordError(f"its process was killed (signal {-code})", fix=hint)
    return AccordError(f"its process ended with code {code}", fix="its log says more")
