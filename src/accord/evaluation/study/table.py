"""The evaluations of a study's runs as one table: variant, policy, scorer to [seeds, prompts].

Axes: S seeds, P prompts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accord.errors import AccordError
from accord.evaluation.statistics import Floats
from accord.evaluation.study.factors import changes, evaluations, flattened

FIXED = ("reference", "sampling", "samples_per_prompt", "scorers", "rewards")
"""Parts of an evaluation's protocol that all runs share, unless a part is the factor."""


@dataclass(frozen=True)
class Cell:
    """One evaluated run of a study.

    Args:
        variant: Its name in the study.
        seed: The training seed.
        evaluation: Its `evaluation.json`.
        settings: Its resolved recipe, dotted (`stages.grpo.lr`).
        run: The document of the whole run (`evaluation.document.assemble`): its curves, held-out
            figures and findings; empty where only scores are compared.
    """

    variant: str
    seed: int
    evaluation: Mapping[str, Any]
    settings: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """Every score of a study.

    Args:
        values: Variant, policy, scorer to [seeds, prompts], each averaged over a prompt's samples.
        seeds: Variant to its training seeds, ascending: the rows.
        prompts: Id and text of each prompt, by id: the columns.
        references: Variant to the policy that others are compared with.
        settings: Variant to its settings, dotted.
    """

    values: Mapping[str, Mapping[str, Mapping[str, Floats]]]
    seeds: Mapping[str, tuple[int, ...]]
    prompts: tuple[tuple[str, str], ...]
    references: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def scorers(self) -> list[str]:
        """Scorers that every policy of every variant has, in the first one's order."""
        every = [scorers for policies in self.values.values() for scorers in policies.values()]
        return [name for name in every[0] if all(name in scorers for scorers in every)]

    def of(self, variant: str, policy: str, scorer: str, seeds: Sequence[int]) -> Floats:
        """Scores under some of the variant's seeds, [those seeds, prompts]."""
        rows = [self.seeds[variant].index(seed) for seed in seeds]
        return self.values[variant][policy][scorer][rows]

    def shared_seeds(self, one: str, other: str) -> tuple[int, ...]:
        """Seeds that two variants both have."""
        return tuple(seed for seed in self.seeds[one] if seed in self.seeds[other])


def table(cells: Iterable[Cell]) -> Scores:
    """Join the evaluations of a study over the prompts that all of them share.

    Prompts and protocol have to be the same, unless the settings of two variants say that the part
    in which they differ is what they vary. Between seeds of a variant nothing may differ.

    Args:
        cells: At least one, in any order within a variant; variants stand in the order they come.

    Raises:
        AccordError: If a run stands twice or lacks scores, if settings differ between seeds, or if
            prompts or protocol differ and are no factor.
    """
    by_variant = _by_variant(cells)
    for name, runs in by_variant.items():
        for run in runs[1:]:
            _same_settings(name, runs[0], run)
            _same_protocol(runs[0], run, frozenset())
    first, *others = (runs[0] for runs in by_variant.values())
    for other in others:
        _same_protocol(first, other, _varied(first, other))
    prompts = _shared_prompts([run for runs in by_variant.values() for run in runs])
    return Scores(
        values={name: _variant(runs, list(prompts)) for name, runs in by_variant.items()},
        seeds={name: tuple(run.seed for run in runs) for name, runs in by_variant.items()},
        prompts=tuple(prompts.items()),
        references={
            name: runs[0].evaluation["protocol"]["reference"] for name, runs in by_variant.items()
        },
        settings={name: flattened(runs[0].settings) for name, runs in by_variant.items()},
    )


def _by_variant(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        runs = found.setdefault(cell.variant, {})
        if cell.seed in runs:
            raise AccordError(f"Two runs have seed {cell.seed}.", f"variants.{cell.variant}")
        if not cell.evaluation.get("samples"):
            raise AccordError(
                f"The run with seed {cell.seed} has no evaluated samples.",
                f"variants.{cell.variant}",
                "end the recipe with an evaluate stage",
            )
        runs[cell.seed] = cell
    if not found:
        raise AccordError("A study without a finished run has nothing to compare.", "variants")
    return {name: [runs[seed] for seed in sorted(runs)] for name, runs in found.items()}


def _same_settings(variant: str, one: Cell, other: Cell) -> None:
    differing = changes(flattened(one.settings), flattened(other.settings))
    if differing:
        raise AccordError(
            f"Seeds {one.seed} and {other.seed} were run with different settings: "
            f"{', '.join(differing)}.",
            f"variants.{variant}",
            "give each setting a variant of its own",
        )


def _varied(one: Cell, other: Cell) -> frozenset[str]:
    """Parts of the evaluation in which the settings of two variants differ: the factors."""
    both = flattened(one.settings), flattened(other.settings)
    stages = evaluations(both[0]) | evaluations(both[1])
    parts = [key.split(".") for key in changes(*both) if key.startswith("stages.")]
    varied = {part[2] for part in parts if part[1] in stages}
    return frozenset(varied | ({"scorers"} if "rewards" in varied else set()))  # listed there too


def _same_protocol(one: Cell, other: Cell, varied: frozenset[str]) -> None:
    """Refuse two runs whose evaluations differ in a part that is no factor."""
    mine, theirs = one.evaluation["protocol"], other.evaluation["protocol"]
    wrong = [
        f"{part} ({mine.get(part)} against {theirs.get(part)})"
        for part in FIXED
        if part not in varied and mine.get(part) != theirs.get(part)
    ]
    if "prompts" not in varied:
        apart = set(_prompts(one)) ^ set(_prompts(other))
        wrong += [f"prompts ({len(apart)} in one only, such as {min(apart)})"] if apart else []
    if wrong:
        raise AccordError(
            f"'{one.variant}' seed {one.seed} and '{other.variant}' seed {other.seed} were "
            f"evaluated differently: {'; '.join(wrong)}.",
            "variants",
            "evaluate all runs alike, or make this the factor: a variant that sets it",
        )


def _prompts(cell: Cell) -> dict[str, str]:
    return {sample["id"]: sample["prompt"] for sample in cell.evaluation["samples"]}


def _shared_prompts(cells: Sequence[Cell]) -> dict[str, str]:
    """Id to text of the prompts that every run has, by id."""
    every = [_prompts(cell) for cell in cells]
    shared = set(every[0]).intersection(*every[1:])
    if not shared:
        raise AccordError(
            "The runs share no evaluation prompt.", "variants", "evaluate all on the same prompts"
        )
    return {prompt: every[0][prompt] for prompt in sorted(shared)}


def _variant(runs: Sequence[Cell], prompts: Sequence[str]) -> dict[str, dict[str, Floats]]:
    """Policy, scorer to [seeds, prompts]."""
    found = [{s["id"]: s["policies"] for s in run.evaluation["samples"]} for run in runs]
    policies = found[0][prompts[0]]
    return {
        policy: {
            scorer: np.array(
                [
                    [_score(run, sample[prompt], policy, scorer) for prompt in prompts]
                    for run, sample in zip(runs, found, strict=True)
                ],
                dtype=np.float64,
            )
            for scorer in facts["scores"]
        }
        for policy, facts in policies.items()
    }


def _score(run: Cell, policies: Mapping[str, Any], policy: str, scorer: str) -> float:
    score = policies.get(policy, {}).get("scores", {}).get(scorer)
    if score is None or not np.isfinite(score):
        raise AccordError(
            f"The run with seed {run.seed} has no score '{scorer}' of '{policy}' for every prompt.",
            f"variants.{run.variant}",
            "evaluate it again with the same policies and scorers",
        )
    return float(score)
