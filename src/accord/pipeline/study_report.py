"""What a study says of its cells once they have run, and of a stage when it ends. No torch."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.pipeline.artifacts import Artifact
from accord.pipeline.files import write_json
from accord.pipeline.study_plan import Cell, Plan, some

REPORT = "study_report.json"
"""The comparison of all cells, in the study's folder."""
BETWEEN = ("variants", "confounded")
"""Families of claims that compare variants; all others stay within one."""


def report(laid: Plan, console: Console) -> None:
    """Write the comparison of all cells; print claims between variants, and what is told apart."""
    study = laid.study.study
    said: dict[str, Any] = {"primary": study.primary}
    if study.resamples is not None:
        said["resamples"] = study.resamples
    document = import_module("accord.evaluation.study.document").study_document(
        [evaluated(laid, cell) for cell in laid.cells], study.title or laid.study.name, **said
    )
    whole = {**document, "study": laid.record()}
    write_json(laid.out / REPORT, whole)
    page = import_module("accord.report.study").write(whole, laid.out)
    quiet = 0
    for claim in document["claims"]:
        # Within a variant there are many, and most say that nothing was found.
        if claim["family"] in BETWEEN or claim["distinguishable"]:
            say(console, claim["sentence"])
        else:
            quiet += 1
    say(console, f"within variants: {some(quiet, 'comparison')} not distinguishable")
    for sentence in document["factors"]["cannot"]:
        say(console, f"cannot be concluded: {sentence}")
    say(console, f"numbers  {laid.out / REPORT}")
    say(console, f"report  {page}")


def evaluated(laid: Plan, cell: Cell) -> Any:
    """A cell with its evaluation and its resolved recipe, as the statistics take it.

    Other evaluate stages are left out: how they ask and score reaches nothing that is compared.
    """
    compared = laid.study.evaluate
    stages = laid.study.recipes[cell.variant].stages
    others = {name for name, s in stages.items() if s.kind == "evaluate" and name != compared}
    recipe = laid.study.recipes[cell.variant].model_dump(mode="json", by_alias=True)
    recipe["stages"] = {k: v for k, v in recipe["stages"].items() if k not in others}
    folders = {k: laid.folder(key) for k, key in cell.stages.items() if k not in others}
    path = folders[compared] / "accord" / "evaluation.json"
    return import_module("accord.evaluation.study.table").Cell(
        cell.variant,
        cell.seed,
        json.loads(path.read_text(encoding="utf-8")),
        import_module("accord.evaluation.study.factors").flattened(recipe),
        import_module("accord.evaluation.document").assemble(folders, cell.variant),
    )


def warnings(folder: Path) -> Iterator[str]:
    """What the live diagnosis said while a stage trained, from its settings and its log."""
    record = Artifact(folder).finished
    watch = import_module("accord.evaluation.live").Watch(
        record["kind"], record["config"], record["name"]
    )
    for line in _logged(folder / "accord" / "metrics.jsonl"):
        yield from watch.see(line)


def _logged(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.is_file():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def say(console: Console, text: str) -> None:
    """Print a line as it is: no colours, no markup, never broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
