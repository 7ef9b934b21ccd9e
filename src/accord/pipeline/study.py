"""A study: every variant with every seed, shared stages once, on several processes. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from accord.config.study import LoadedStudy
from accord.errors import AccordError
from accord.pipeline import machine, memory, study_plan, study_report, worker, workers
from accord.pipeline.artifacts import Artifact
from accord.pipeline.execute import MODULES, Setting, Task
from accord.pipeline.files import write_json
from accord.pipeline.lock import locked
from accord.pipeline.run import RUNS
from accord.pipeline.study_plan import Plan, some
from accord.pipeline.study_report import say


class StudyStopped(Exception):
    """The study was asked to stop; what was running is saved and a rerun goes on from it."""

    def __init__(self, out: Path, left: int) -> None:
        super().__init__(f"stopped; {left} stages of {out} are still to run")


@dataclass(frozen=True)
class StudySetting:
    """How a study is run; on one number of threads nothing here changes its numbers.

    Args:
        workers: Processes at a time; none: one a core.
        memory: Bytes that all of them may hold; none: a share of what is available.
        base: Folder that relative paths of data are resolved against.
        console: Where progress is printed.
        modules: Kind of stage to the module with its `run(config, context)`.
        command: What runs the study again.
    """

    workers: int | None = None
    memory: int | None = None
    base: Path = field(default_factory=Path.cwd)
    console: Console = field(default_factory=Console)
    modules: Mapping[str, str] = field(default_factory=lambda: MODULES)
    command: str = "the same command"


def plan(study: LoadedStudy, out: Path | None, setting: StudySetting) -> Plan:
    """What a study runs, in `runs/<study>[-<profile>]` or another folder; runs nothing."""
    return study_plan.plan(study, RUNS / study.name if out is None else out, setting.base)


def run(study: LoadedStudy, out: Path | None = None, setting: StudySetting | None = None) -> Path:
    """Run all of a study that does not stand yet; gives its folder.

    Raises:
        AccordError: A stage failed (the others that could have been run), another run holds the
            folder, or two cells would be the same.
        StudyStopped: Ctrl-C; a second one stops without saving.
    """
    setting = setting or StudySetting()
    laid = plan(study, out, setting)
    with locked(laid.out / study_plan.LOCK):
        write_json(laid.out / "study.json", laid.record())
        jobs = _jobs(laid, setting)
        limits = _limits(laid, setting)
        progress = _Progress(laid, setting.console, len(jobs))
        progress.begin(limits)
        outcome = workers.run(jobs, limits, progress)
        if outcome.failed:
            raise _failure(laid, outcome, setting.command)
        if outcome.stopped:
            raise StudyStopped(laid.out, len(outcome.left))
        study_report.report(laid, setting.console)
    return laid.out


def _jobs(laid: Plan, setting: StudySetting) -> list[workers.Job]:
    """A job for every node that does not stand."""
    todo: dict[str, workers.Job] = {}
    for key, node in laid.nodes.items():
        if laid.stands(node):
            continue
        inputs = {name: laid.folder(other) for name, other in node.inputs.items()}
        task = Task(node.name, node.config, laid.folder(key), inputs)
        own = Setting(node.seed, setting.base, setting.console, modules=setting.modules)
        outcome = laid.out / study_plan.LOGS / f"{key}.json"
        line = worker.told(task, own, node.mark, outcome)
        after = frozenset(node.inputs.values()) & todo.keys()
        todo[key] = workers.Job(key, node.name, after, line, outcome)
    return list(todo.values())


def _limits(laid: Plan, setting: StudySetting) -> workers.Limits:
    cores = machine.usable_cores()
    # However few stages are left: a resumed stage keeps its number of threads, and so its bytes.
    count = setting.workers or cores
    return workers.Limits(
        workers=count,
        threads=max(1, cores // count),
        memory=setting.memory or memory.budget(),
        needs=memory.needs(laid.out / study_plan.STAGES, laid.out / study_plan.LOGS),
        default=memory.DEFAULT_NEED,
    )


@dataclass
class _Progress:
    """One line for every stage that starts or ends."""

    laid: Plan
    console: Console
    jobs: int
    ended: int = 0

    def begin(self, limits: workers.Limits) -> None:
        cells, stand = len(self.laid.cells), len(self.laid.nodes) - self.jobs
        parts = (
            f"study {self.laid.study.name}: {some(cells, 'cell')}",
            f"{some(self.jobs, 'stage')} to run, {stand} stand",
            f"{some(limits.workers, 'worker')}, {limits.memory / memory.GIB:.1f} GiB",
        )
        say(self.console, "; ".join(parts))

    def __call__(self, job: workers.Job, event: str) -> None:
        self.ended += event != "started"
        said = event
        if event == "done":
            record = Artifact(self.laid.folder(job.key)).finished
            said = f"{record['seconds']:.1f} s"
        say(self.console, f"{self.ended:>3}/{self.jobs}  {job.key}  {said}")
        if event == "done":
            for warning in study_report.warnings(self.laid.folder(job.key)):
                say(self.console, f"  warning  {job.key}: {warning}")


def _failure(laid: Plan, outcome: workers.Outcome, command: str) -> AccordError:
    """All that failed on one screen, with the cells it is for and its log."""
    counts = f"{len(outcome.failed)} of the study's stages failed, {len(outcome.done)} ended well"
    left = f", {len(outcome.left)} were left out" if outcome.left else ""
    lines = [counts + left]
    for key, error in list(outcome.failed.items())[:5]:
        cells = ", ".join(f"{cell.variant}/{cell.seed}" for cell in laid.cells_of(key)[:4])
        first, *others = error.lines()
        lines += [f"  {key} (for {cells}): {first}", *(f"  {line}" for line in others)]
        lines.append(f"    log:   {laid.out / study_plan.LOGS / key}.log")
    if len(outcome.failed) > 5:
        lines.append(f"  and {len(outcome.failed) - 5} more, see {laid.out / study_plan.LOGS}")
    return AccordError("\n".join(lines), fix=f"mend it, then go on with: {command}")
