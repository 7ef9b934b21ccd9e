"""A run's report and its models' cards, from what the stages left in their folders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.config.recipe import Recipe
from accord.errors import AccordError
from accord.pipeline.files import read_json


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


def rerender(run: Path) -> Path:
    """Write `report.html` again from the numbers in `report.json`; gives the page's path.

    Raises:
        AccordError: The folder holds no readable report.json.
    """
    numbers = run / "report.json"
    try:
        document = json.loads(numbers.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AccordError(
            "the folder holds no report.json", str(run), "run a recipe with an evaluate stage first"
        ) from None
    except ValueError:
        raise AccordError("not readable as JSON", str(numbers), "run the recipe again") from None
    page = import_module("accord.report.page")
    try:
        return page.write(document, run)
    except KeyError as error:
        raise AccordError(f"the report lacks {error}", str(numbers), "run it again") from None
