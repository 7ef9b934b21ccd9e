"""Two runs compared: what names them on the command line, and where their numbers are."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.errors import AccordError, did_you_mean
from accord.pipeline.files import read_json

REPORT = "report.json"
CELL = "#"
"""Between a study's folder and one of its cells: `runs/study#variant/seed`."""


def compare(a: str | Path, b: str | Path, out: str | Path | None = None) -> dict[str, Any]:
    """Compare two runs; differences are B − A.

    Args:
        a: A run's folder, its report.json, one stage's folder, or `STUDY#VARIANT/SEED`.
        b: Another.
        out: Folder that gets `compare.json` and `compare.html`; none: nothing is written.

    Returns:
        The comparison, `compare.json`.

    Raises:
        AccordError: One of them is none of these, or cannot be read.
    """
    module = import_module("accord.evaluation.compare.document")
    document = module.compare_document(_side(str(a)), _side(str(b)))
    if out is not None:
        import_module("accord.report.compare").write(document, Path(out))
    return document


def _side(name: str) -> Any:
    """What stands under a name.

    Raises:
        AccordError: Nothing that can be compared.
    """
    folder, mark, cell = name.partition(CELL)
    path = Path(folder).expanduser()
    if mark:
        folders = _cell(path, cell)
        return _made(name, _assembled(name, folders), folders)
    if path.is_file():
        return _made(name, _report(path), _stages_beside(path.parent, _report(path)))
    if (path / REPORT).is_file():
        document = _report(path / REPORT)
        return _made(name, document, _stages_beside(path, document))
    if read_json(path / "accord" / "stage.json"):
        stage = read_json(path / "accord" / "stage.json").get("name") or path.name
        return _made(name, _assembled(name, {stage: path}), {stage: path})
    raise _nothing(name, path)


def _nothing(name: str, path: Path) -> AccordError:
    if read_json(path / "study.json"):
        cells = ", ".join(f"{name}#{_called(cell)}" for cell in _cells(path)[:3])
        return AccordError("a study holds many runs", name, f"name one of them, such as {cells}")
    if not path.exists():
        near = [str(other) for other in path.parent.glob("*")] if path.parent.is_dir() else []
        return AccordError("there is no such run", name, did_you_mean(name, near[:50]))
    return AccordError(
        "the folder holds neither a report nor a finished stage",
        name,
        "give a run's folder with report.json, a stage's with accord/stage.json, or "
        "STUDY#VARIANT/SEED",
    )


def _report(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise AccordError("not readable as JSON", str(path), "run the recipe again") from None
    if not isinstance(document, dict) or "stages" not in document or "policies" not in document:
        raise AccordError("this is not a run's report.json", str(path))
    return document


def _assembled(title: str, folders: Mapping[str, Path]) -> dict[str, Any]:
    return import_module("accord.evaluation.document").assemble(folders, title)


def _stages_beside(home: Path, document: Mapping[str, Any]) -> dict[str, Path]:
    """Where a report's stages may lie: below it, or, of a single stage, where it lies itself."""
    below = {name: home / name for name in document["stages"]}
    return {name: path if path.is_dir() else home for name, path in below.items()}


def _made(name: str, document: Mapping[str, Any], folders: Mapping[str, Path]) -> Any:
    """A side; records count only where they are of the very stage that the report is of."""
    short = _short_names(document)
    named = {name: Path(path).expanduser() for path, name in short.items()}
    records = {
        stage: read_json(path / "accord" / "stage.json")
        for stage, path in {**folders, **named}.items()
    }
    mine = {
        stage: record
        for stage, record in records.items()
        if record
        and record.get("fingerprint") == document["stages"].get(stage, {}).get("fingerprint")
    }
    side = import_module("accord.evaluation.compare.side").Side
    return side(name, _renamed(document, short) if short else document, mine)


def _short_names(document: Mapping[str, Any]) -> dict[str, str]:
    """Paths by which a single evaluation names its policies, to the last part of each."""
    protocol = document.get("protocol") or {}
    paths = {*protocol.get("policies", []), protocol.get("reference", "")}
    paths |= {term.get("model") or "" for term in protocol.get("rewards", {}).values()}
    short = {path: Path(path).name for path in paths if "/" in path and ":" not in path}
    return short if len(set(short.values())) == len(short) else {}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, names) for part in value]
    return value


def _cells(study: Path) -> list[dict[str, Any]]:
    return read_json(study / "study.json").get("cells", [])


def _called(cell: Mapping[str, Any]) -> str:
    return f"{cell['variant']}/{cell['seed']}"


def _cell(study: Path, cell: str) -> dict[str, Path]:
    """Folder of every stage of a study's cell."""
    cells = {_called(found): found for found in _cells(study)}
    if not cells:
        raise AccordError("there is no study in this folder", str(study), "it needs study.json")
    if cell not in cells:
        raise AccordError(f"the study has no run '{cell}'", str(study), did_you_mean(cell, cells))
    folders = {name: study / below for name, below in cells[cell]["stages"].items()}
    if not any(read_json(path / "accord" / "stage.json") for path in folders.values()):
        raise AccordError(f"'{cell}' has not been run", str(study), "run the study first")
    return folders
