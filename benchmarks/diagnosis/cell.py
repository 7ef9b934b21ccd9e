"""One short run: its recipe written and run as a user would, and what Accord said of it."""

import json
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from accord.config.load import load_recipe
from accord.errors import AccordError
from accord.evaluation.document import assemble
from accord.pipeline.execute import Setting, Task, execute
from accord.pipeline.graph import plan
from diagnosis.worlds import WORLDS, Stages, foundation, write_data

SAID = re.compile(r"^([a-z_]+) \(step ([\d,]+)\): ", re.MULTILINE)
"""A line of the live watch."""
LOOKED_AT = "run"
"""Name of the stage that is looked at."""
FOUNDED = ("tokenizer", "base", "sft")


@dataclass(frozen=True)
class Cell:
    """A run to be made.

    Args:
        name: Of the fault, or of the healthy setting.
        world: Its data and starting models.
        stages: Further stages, or settings laid over those of the foundation.
        expected: Findings meant for the fault, any of which counts; none: the run is healthy.
        plant: Broken code, put in place while the stage that is looked at runs.
        onset: Step at which the fault begins.
    """

    name: str
    world: str
    stages: Stages
    expected: frozenset[str] = frozenset()
    plant: Callable[[], AbstractContextManager[Any]] = nullcontext
    onset: int = 1


@dataclass
class Outcome:
    """What became of a run.

    Args:
        name: The cell's.
        seed: The run's.
        live: Findings said while it trained, with the step.
        report: Findings of the report, those that only inform left out.
        truth: What the run's own artifacts measured, whatever the findings say.
        ended: Why it ended early, if it did.
        seconds: Of the processor that it took.
        kind: Of the stage that is looked at.
        steps: Optimiser steps of it.
        sentences: The findings' sentences, by name.
    """

    name: str
    seed: int
    live: dict[str, int] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)
    truth: dict[str, float] = field(default_factory=dict)
    ended: str = ""
    seconds: float = 0.0
    kind: str = ""
    steps: int = 0
    sentences: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> set[str]:
        """Names of all findings, live and of the report."""
        return {*self.live, *self.report}


def prepared(world: str, seed: int, home: Path) -> Path:
    """The folder of a world's data and trained foundation; made if it is not there."""
    folder = home / f"{world}-{seed}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_data(WORLDS[world], folder / "data", seed)
        _run(folder, foundation(WORLDS[world]), seed, _quiet())
        (folder / "done").touch()
    return folder


def made(cell: Cell, seed: int, founded: Path, folder: Path) -> Outcome:
    """Run a cell in a folder, which is deleted afterwards.

    Args:
        cell: What to run.
        seed: Of all its own stages.
        founded: From `prepared`.
        folder: Where it runs.
    """
    shutil.copytree(founded, folder)
    stages = {name: dict(stage) for name, stage in foundation(WORLDS[cell.world]).items()}
    for name, stage in cell.stages.items():
        stages[name] = {**stages.get(name, {}), **stage, "seed": seed}
    config = stages[LOOKED_AT if LOOKED_AT in stages else "sft"]
    outcome = Outcome(cell.name, seed, kind=config["kind"], steps=config.get("steps", 0))
    # what the foundation was trained with is what its folders stand for
    founded_seed = int(founded.name.rsplit("-", 1)[1])
    written, began = StringIO(), time.process_time()
    console = Console(file=written, width=2000)
    try:
        with cell.plant():
            _run(folder, stages, founded_seed, console)
    except AccordError as error:
        outcome.ended = error.what
    except Exception:
        outcome.ended = traceback.format_exc(limit=-3)
    outcome.seconds = time.process_time() - began
    for name, step in SAID.findall(written.getvalue()):
        outcome.live.setdefault(name, int(step.replace(",", "")))
    _read(outcome, folder, stages)
    shutil.rmtree(folder)
    return outcome


def _run(folder: Path, stages: Stages, seed: int, console: Console) -> None:
    """All stages in order, as `accord run` does, without drawing the page."""
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"name": "planted", "seed": seed, "stages": stages}))
    recipe, setting = load_recipe(path), Setting(seed, folder, console)
    names = plan(recipe, None)
    folders = {name: folder / "out" / name for name in names}
    for name in names:
        execute(Task(name, recipe.stages[name], folders[name], folders), setting)


def _quiet() -> Console:
    return Console(file=StringIO())


def _read(outcome: Outcome, folder: Path, stages: Stages) -> None:
    """The report's findings, and what is true of the run; of stages of its own alone."""
    folders = {name: folder / "out" / name for name in stages if (folder / "out" / name).exists()}
    document = assemble(folders, outcome.name)
    for finding in document["findings"]:
        evidence = finding["evidence"]
        about = evidence.get("stage") or evidence.get("policy")
        if finding["severity"] != "info" and about not in ("tokenizer", "base"):
            outcome.sentences.setdefault(finding["name"], finding["sentence"])
            if finding["name"] not in outcome.report:
                outcome.report.append(finding["name"])
    outcome.truth = truths(document, LOOKED_AT if LOOKED_AT in stages else "sft")


def truths(document: Mapping[str, Any], stage: str) -> dict[str, float]:
    """What the artifacts of a run measured of the stage and its policy."""
    found: dict[str, float] = {}
    held = document.get("heldout", {}).get(stage, {})
    if "accuracy" in held:
        found["accuracy"] = held["accuracy"]
    policies = document.get("policies", {})
    reference = document.get("protocol", {}).get("reference")
    if stage in policies and reference in policies and stage != reference:
        ours, theirs = policies[stage], policies[reference]
        for name in ("ended", "distinct_2", "unique", "length"):
            before = theirs["statistics"][name]
            found[name] = ours["statistics"][name] / before if before else 1.0
        found["kl_per_token"] = ours["kl"]["per_token"]
        for name in ("mood", "form"):
            key = f"python:diagnosis.rewards:{name}"
            label = name if name in ours["scores"] else key
            if label in ours["scores"]:
                now, before = (side["scores"][label]["mean"] for side in (ours, theirs))
                found[name] = now - before
    found |= _course(document.get("curves", {}).get(stage, {}))
    return found


def _course(curves: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Loss at the end beside its start, steps that were skipped."""
    found = {"skipped": float(len(curves.get("skipped_rows", [])))}
    loss = [value for _, value in curves.get("loss", [])]
    if len(loss) >= 10:
        fifth = max(1, len(loss) // 5)
        found["loss_start"] = sum(loss[:fifth]) / fifth
        found["loss_end"] = sum(loss[-fifth:]) / fifth
    return found
