"""A run's report and its models' cards, from what the stages left in their folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.config.recipe import Recipe
from accord.errors import AccordError
from accord.pipeline.files import read_json, write_text

EVALUATION, STAGE = Path("accord/evaluation.json"), Path("accord/stage.json")
RUN, STUDY = "report.json", "study_report.json"
PAGES: Mapping[str, str] = {RUN: "accord.report.page", STUDY: "accord.report.study"}
"""File of numbers to the module whose `write(document, folder)` draws them."""


@dataclass(frozen=True)
class Source:
    """What a report is assembled from.

    Args:
        folders: Stage name to folder, in the order they ran.
        title: Heading of the report.
        recipe: As it was run.
        command: What reproduces the run.
    """

    folders: Mapping[str, Path]
    title: str
    recipe: Recipe
    command: str


def publish(source: Source, out: Path, ran: bool, console: Console) -> None:
    """Write `report.html` and `report.json` into `out`, unless they are as new as every stage."""
    recipe = source.recipe.model_dump(mode="json", by_alias=True)
    if ran or not _stands(source.folders, out, recipe):
        assemble = import_module("accord.evaluation.document").assemble
        document = assemble(source.folders, source.title, recipe, source.command)
        import_module("accord.report.page").write(document, out)
    console.print(f"[bold]report[/]  {out / 'report.html'}", highlight=False, soft_wrap=True)


def update_cards(folders: Mapping[str, Path], evaluations: Sequence[Path]) -> None:
    """Write what evaluations found into their policies' cards, between the marks that cards have.

    Nothing else in a card changes, nor any fingerprint; a card without marks stays as it is.

    Args:
        folders: Name of a policy to its folder; one that is not named here is its own path.
        evaluations: Folders of evaluate stages, in the order they ran.
    """
    cards = import_module("accord.report.card_evaluation")
    found = [(read_json(e / EVALUATION), read_json(e / STAGE)) for e in evaluations]
    for name in dict.fromkeys(policy for read, _ in found for policy in read.get("policies", ())):
        folder = folders.get(name, Path(name).expanduser())
        card, stage = folder / "README.md", read_json(folder / STAGE)
        if not stage or not card.is_file():
            continue
        texts = [
            cards.evaluation_text(name, read, stage, record.get("fingerprint", ""))
            for read, record in found
            if name in read.get("policies", ())
        ]
        before = card.read_text(encoding="utf-8")
        if (after := cards.with_evaluations(before, texts)) != before:
            write_text(card, after)


def _stands(folders: Mapping[str, Path], out: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether the report is of this recipe and no older than any stage."""
    try:
        written = min((out / name).stat().st_mtime for name in ("report.html", "report.json"))
    except FileNotFoundError:
        return False
    if read_json(out / "report.json").get("recipe") != recipe:
        return False
    records = [folder / "accord" / "stage.json" for folder in folders.values()]
    return all(record.stat().st_mtime <= written for record in records if record.exists())


def rerender(run: Path) -> list[Path]:
    """Write the page of a run, a study or both again from their numbers; gives the pages' paths.

    Args:
        run: The folder, or a `report.json` or `study_report.json` in it.

    Raises:
        AccordError: There are no such numbers, or they are not readable.
    """
    files = [run] if run.is_file() else [run / name for name in PAGES if (run / name).exists()]
    if not files:
        raise AccordError(
            f"the folder holds no {' and no '.join(PAGES)}",
            str(run),
            "run a recipe with an evaluate stage, or a study, first",
        )
    return [_redrawn(numbers) for numbers in files]


def _redrawn(numbers: Path) -> Path:
    """The page of one file of numbers; which of the two it is shows in its keys."""
    try:
        document = json.loads(numbers.read_text(encoding="utf-8"))
    except ValueError:
        raise AccordError("not readable as JSON", str(numbers), "run it again") from None
    if not isinstance(document, dict):
        raise AccordError(
            "these are no numbers of a report", str(numbers), f"give a {RUN} or a {STUDY}"
        )
    of_study = "variants" in document and "claims" in document
    page = import_module(PAGES[STUDY if of_study else RUN])
    undefined = import_module("jinja2").UndefinedError
    try:
        return page.write(document, numbers.parent)
    except (KeyError, undefined) as error:
        raise AccordError(f"the report lacks {error}", str(numbers), "run it again") from None
