"""What a study runs: its cells, and the stages they share, known by their fingerprints. No torch.

A cell is a variant with a seed. A stage that neither reaches is the same in several cells: it has
one fingerprint, one folder, and runs once.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accord.config.recipe import Recipe
from accord.config.stages import StageConfig
from accord.config.study import LoadedStudy
from accord.errors import AccordError
from accord.pipeline import graph
from accord.pipeline.artifacts import Artifact
from accord.pipeline.fingerprint import (
    data_hashes,
    fingerprint,
    input_fingerprint,
    sources,
    stage_seed,
)

STAGES = "stages"
"""Folder of a study that holds the folders of its stages."""
LOGS = "logs"
"""Folder of a study with what its workers printed and how they ended."""
LOCK = ".lock"
"""File that whoever runs or prunes a study holds."""
SHOWN = 10
"""Digits of a fingerprint that name a folder."""


@dataclass(frozen=True)
class Node:
    """One stage as one or several cells run it.

    Args:
        name: In the recipe.
        config: Its settings.
        seed: It draws from.
        mark: Its fingerprint, as `pipeline.execute` will find it.
        inputs: Name of each input that is a stage to the key of its node.
    """

    name: str
    config: StageConfig
    seed: int
    mark: str
    inputs: Mapping[str, str]

    @property
    def key(self) -> str:
        """What tells it from every other node; the name of its folder."""
        return f"{self.name}-{self.mark[:SHOWN]}"


@dataclass(frozen=True)
class Cell:
    """A variant with a seed: stage name to the key of its node, in the order they run."""

    variant: str
    seed: int
    stages: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """All cells of a study and the nodes they are made of, inputs before what needs them.

    Args:
        study: As it was read.
        out: The study's folder.
        cells: Seed by seed, so that the first comparisons are whole as early as can be.
        nodes: By their keys.
    """

    study: LoadedStudy
    out: Path
    cells: tuple[Cell, ...]
    nodes: Mapping[str, Node]

    def folder(self, key: str) -> Path:
        """Where a node's stage writes."""
        return self.out / STAGES / key

    def standing(self) -> set[str]:
        """Keys of the nodes whose results are there already."""
        return {key for key, node in self.nodes.items() if self.stands(node)}

    def stands(self, node: Node) -> bool:
        """Whether a node's result is there."""
        return Artifact(self.folder(node.key)).stands(node.mark)

    def cells_of(self, key: str) -> list[Cell]:
        """The cells that a node belongs to."""
        return [cell for cell in self.cells if key in cell.stages.values()]

    def record(self) -> dict[str, Any]:
        """What `study.json` says: which folder holds which stage of which cell."""
        study = self.study.study
        facts = study.model_dump(mode="json", include={"name", "title", "seeds", "resamples"})
        facts |= {"recipe": str(self.study.recipe), "evaluate": self.study.evaluate}
        facts |= {"profile": self.study.profile}
        return {**facts, "cells": [self._cell(cell) for cell in self.cells]}

    def _cell(self, cell: Cell) -> dict[str, Any]:
        folders = {name: f"{STAGES}/{key}" for name, key in cell.stages.items()}
        settings = list(self.study.settings[cell.variant])
        return {
            "variant": cell.variant,
            "seed": cell.seed,
            "settings": settings,
            "evaluation": folders[self.study.evaluate],
            "stages": folders,
        }


def plan(study: LoadedStudy, out: Path, base: Path) -> Plan:
    """Lay a study out; reads and hashes the data, runs nothing.

    Args:
        study: As `config.study.load_study` reads it.
        out: The study's folder.
        base: Folder that relative paths of data are resolved against.

    Raises:
        AccordError: A file is missing, or two cells would be one and the same.
    """
    marks = _Marks(base)
    cells = tuple(
        Cell(variant, seed, marks.cell(recipe, seed))
        for seed in study.study.seeds
        for variant, recipe in study.recipes.items()
    )
    _refuse_equals(study, cells, marks)
    return Plan(study, out, cells, dict(marks.nodes))


@dataclass
class _Marks:
    """Fingerprints of stages not run yet; each source and each outside model is hashed once."""

    base: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    data: dict[frozenset[str], dict[str, str]] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)

    def cell(self, recipe: Recipe, seed: int) -> dict[str, str]:
        """Key of every stage of a recipe under a seed; new nodes are noted."""
        keys: dict[str, str] = {}
        for name in graph.plan(recipe):
            node = self.node(name, recipe.stages[name], seed, keys)
            keys[name] = self.nodes.setdefault(node.key, node).key
        return keys

    def node(self, name: str, config: StageConfig, seed: int, keys: Mapping[str, str]) -> Node:
        inside = {given: keys[given] for given in config.inputs() if given in keys}
        inputs = {
            given: self.nodes[inside[given]].mark if given in inside else self.model(given)
            for given in config.inputs()
        }
        own = stage_seed(config, seed)
        return Node(
            name, config, own, fingerprint(config, own, inputs, self.read(config, name)), inside
        )

    def model(self, name: str) -> str:
        if name not in self.outside:
            self.outside[name] = input_fingerprint(name)
        return self.outside[name]

    def read(self, config: StageConfig, name: str) -> dict[str, str]:
        names = frozenset(source.source for _, source in sources(config))
        if names not in self.data:
            self.data[names] = data_hashes(config, self.base, name)
        return self.data[names]


def _refuse_equals(study: LoadedStudy, cells: tuple[Cell, ...], marks: _Marks) -> None:
    """Refuse a comparison of a thing with itself: variants, or seeds, that evaluate the same."""
    seen: dict[tuple[str, ...], str] = {}
    evaluated = {(cell.variant, cell.seed): cell.stages[study.evaluate] for cell in cells}
    seeds = study.study.seeds
    if all(study.study.variants.values()):
        # Nodes of the plain recipe are no part of this study: they are noted in a copy.
        aside = replace(marks, nodes=dict(marks.nodes))
        plain = tuple(aside.cell(study.plain, seed)[study.evaluate] for seed in seeds)
        seen[plain] = ""
    for variant in study.recipes:
        keys = tuple(evaluated[variant, seed] for seed in seeds)
        where = study.where("variants", variant)
        if keys in seen:
            other = f"equals variant '{seen[keys]}'" if seen[keys] else "changes nothing"
            what = f"variant '{variant}' {other}: '{study.evaluate}' would give the same numbers"
            raise AccordError(what, where, "give it another setting, or delete it")
        seen[keys] = variant
        again = [seed for seed, count in zip(seeds, _counts(keys), strict=True) if count > 1]
        if again:
            what = (
                f"seeds {', '.join(map(str, again))} reach no stage that '{study.evaluate}' reads"
            )
            fix = "take the stages' own seed: out, or name one seed"
            raise AccordError(what, study.where("seeds"), fix)


def _counts(keys: tuple[str, ...]) -> list[int]:
    counted = Counter(keys)
    return [counted[key] for key in keys]


def text(plan: Plan) -> str:
    """The plan as `accord study --plan` prints it: what runs, what stands, what is shared."""
    study, standing = plan.study, plan.standing()
    variants, seeds = len(study.recipes), len(study.study.seeds)
    wanted = sum(len(cell.stages) for cell in plan.cells)
    lines = [
        f"study {study.name}: {some(variants, 'variant')} x {some(seeds, 'seed')} = "
        f"{some(len(plan.cells), 'cell')}, compared by '{study.evaluate}'",
        f"{some(wanted, 'stage')} in all cells, {len(plan.nodes)} of them different: "
        f"{len(standing)} stand, {len(plan.nodes) - len(standing)} to run",
        "",
    ]
    names = list(dict.fromkeys(name for cell in plan.cells for name in cell.stages))
    width = max(map(len, [*names, "stage"]))
    lines.append(f"  {'stage':<{width}}  to run  stand  shared by")
    for name in names:
        keys = [key for key, node in plan.nodes.items() if node.name == name]
        stand = sum(key in standing for key in keys)
        shared = _range([len(plan.cells_of(key)) for key in keys])
        lines.append(f"  {name:<{width}}  {len(keys) - stand:>6}  {stand:>5}  {shared}")
    return "\n".join([*lines, "", *_folders(plan, standing)])


def _folders(plan: Plan, standing: set[str]) -> list[str]:
    """What is still to run, one line a stage, with the cells it is for."""
    lines = []
    for key in plan.nodes:
        if key in standing:
            continue
        begun = Artifact(plan.folder(key)).started.get("fingerprint") == plan.nodes[key].mark
        cells = [f"{cell.variant}/{cell.seed}" for cell in plan.cells_of(key)]
        more = f" and {len(cells) - 4} more" if len(cells) > 4 else ""
        lines.append(f"  {'go on' if begun else 'run  '}  {key}  for {', '.join(cells[:4])}{more}")
    return lines or ["  nothing to run"]


def some(count: int, noun: str) -> str:
    """A count with its noun, such as `1 cell` or `3 cells`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    if high == 1:
        return "no other cell"
    return some(high, "cell") if low == high else f"{low} to {high} cells"
