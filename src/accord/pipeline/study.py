"""A study: every variant with every seed, shared stages once, on several processes. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.config.study import LoadedStudy
from accord.errors import AccordError
from accord.pipeline import machine, memory, study_plan, worker, workers
from accord.pipeline.artifacts import Artifact
from accord.pipeline.execute import MODULES, Setting, Task
from accord.pipeline.files import write_json
from accord.pipeline.lock import locked
from accord.pipeline.run import RUNS
from accord.pipeline.study_plan import Plan, some

REPORT = "study_report.json"
"""The comparison of all cells, in the study's folder."""
BETWEEN = ("variants", "confounded")
"""Families of claims that compare variants; all others stay within one."""
LOGS = "logs"
"""Folder of a study with what its workers printed and how they ended."""


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
    """What a study runs, in `runs/<study>` or another folder; runs nothing."""
    return study_plan.plan(study, RUNS / study.study.name if out is None else out, setting.base)


def run(study: LoadedStudy, out: Path | None = None, setting: StudySetting | None = None) -> Path:
    """Run all of a study that does not stand yet; gives its folder.

    Raises:
        AccordError: A stage failed (the others that could have been run), another run holds the
            folder, or two cells would be the same.
        StudyStopped: Ctrl-C; a second one stops without saving.
    """
    setting = setting or StudySetting()
    laid = plan(study, out, setting)
    with locked(laid.out / ".lock"):
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
        _report(laid, setting.console)
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
        outcome = laid.out / LOGS / f"{key}.json"
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
        needs=memory.needs(laid.out / study_plan.STAGES, laid.out / LOGS),
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
            f"study {self.laid.study.study.name}: {some(cells, 'cell')}",
            f"{some(self.jobs, 'stage')} to run, {stand} stand",
            f"{some(limits.workers, 'worker')}, {limits.memory / memory.GIB:.1f} GiB",
        )
        _line(self.console, "; ".join(parts))

    def __call__(self, job: workers.Job, event: str) -> None:
        self.ended += event != "started"
        said = event
        if event == "done":
            record = Artifact(self.laid.folder(job.key)).finished
            said = f"{record['seconds']:.1f} s"
        _line(self.console, f"{self.ended:>3}/{self.jobs}  {job.key}  {said}")


def _failure(laid: Plan, outcome: workers.Outcome, command: str) -> AccordError:
    """All that failed on one screen, with the cells it is for and its log."""
    counts = f"{len(outcome.failed)} of the study's stages failed, {len(outcome.done)} ended well"
    left = f", {len(outcome.left)} were left out" if outcome.left else ""
    lines = [counts + left]
    for key, error in list(outcome.failed.items())[:5]:
        cells = ", ".join(f"{cell.variant}/{cell.seed}" for cell in laid.cells_of(key)[:4])
        first, *others = error.lines()
        lines += [f"  {key} (for {cells}): {first}", *(f"  {line}" for line in others)]
        lines.append(f"    log:   {laid.out / LOGS / key}.log")
    if len(outcome.failed) > 5:
        lines.append(f"  and {len(outcome.failed) - 5} more, see {laid.out / LOGS}")
    return AccordError("\n".join(lines), fix=f"mend it, then go on with: {command}")


def _report(laid: Plan, console: Console) -> None:
    """Write the comparison of all cells; print claims between variants, and what is told apart."""
    study, said = laid.study.study, {}
    if study.resamples is not None:
        said["resamples"] = study.resamples
    write = import_module("accord.evaluation.study.document").study_document
    document = write(_evaluated(laid), study.title or study.name, **said)
    write_json(laid.out / REPORT, {**document, "study": laid.record()})
    quiet = 0
    for claim in document["claims"]:
        # Within a variant there are many, and most say that nothing was found.
        if claim["family"] in BETWEEN or claim["distinguishable"]:
            _line(console, claim["sentence"])
        else:
            quiet += 1
    _line(console, f"within variants: {some(quiet, 'comparison')} not distinguishable")
    for sentence in document["factors"]["cannot"]:
        _line(console, f"cannot be concluded: {sentence}")
    _line(console, f"report  {laid.out / REPORT}")


def _evaluated(laid: Plan) -> list[Any]:
    """Every cell with its evaluation and its resolved recipe, as the statistics take them."""
    make = import_module("accord.evaluation.study.table").Cell
    flattened = import_module("accord.evaluation.study.factors").flattened
    assemble = import_module("accord.evaluation.document").assemble
    cells = []
    for cell in laid.cells:
        recipe = laid.study.recipes[cell.variant].model_dump(mode="json", by_alias=True)
        path = laid.folder(cell.stages[laid.study.evaluate]) / "accord" / "evaluation.json"
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        folders = {name: laid.folder(key) for name, key in cell.stages.items()}
        run = assemble(folders, cell.variant)
        cells.append(make(cell.variant, cell.seed, evaluation, flattened(recipe), run))
    return cells


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
