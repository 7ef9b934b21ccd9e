"""What the stages of a study's runs logged: curves by variant and seed, and held-out figures.

Read from `Cell.run`, the document that `evaluation.document.assemble` makes of a run's folders. A
stage that several variants share was run once and stands once, under the first of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from accord.evaluation.findings.finding import mean
from accord.evaluation.findings.rollouts import ALIKE_HIGH
from accord.evaluation.study.table import Cell

Points = Sequence[Sequence[float]]
POINTS = 60
"""Points kept of a curve: each the mean of as many consecutive ones."""
COLLAPSED = 0.1
"""Share of its spread at the start below which a group's rewards are called alike."""
PAIRS = (
    "loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "rewards/rejected",
    "logps/chosen", "logps/rejected",
)  # fmt: skip
ROLLOUTS = (
    "reward", "objective/kl", "reward_std", "frac_reward_zero_std", "unique",
    "completions/mean_length", "completions/clipped_ratio",
)  # fmt: skip
METRICS: Mapping[str, tuple[str, ...]] = {
    "pretrain": ("loss",),
    "sft": ("loss",),
    "reward": ("loss", "accuracy"),
    "preference": PAIRS,
    "online": (*PAIRS[:3], *ROLLOUTS),
    "ppo": ROLLOUTS,
    "grpo": ROLLOUTS,
}
"""Metrics kept, by kind of stage; judges beside them, and the same on held-out rows."""
OF_REWARD_MODELS = ("accuracy", "ece", "length_correlation", "rating_correlation")


def training(cells: Sequence[Cell]) -> dict[str, Any]:
    """Stage to `kind`, `shared`, `curves` and `thresholds`.

    `curves` is variant, metric to `{mean, seeds, first, last}`: points over steps averaged over
    seeds, those of every seed, and the means of the first and the last tenth. `shared` names for a
    variant the earlier one whose runs are its own. `thresholds` are bounds of GRPO's group spread.
    """
    return {stage: _stage(cells, stage) for stage in _stages(cells, "curves")}


def heldout(cells: Sequence[Cell]) -> dict[str, Any]:
    """Stage, variant, figure to `{mean, range, per_seed}` on held-out rows; `range` over seeds.

    Shared runs stand once, as in `training`.
    """
    found: dict[str, Any] = {}
    for stage in dict.fromkeys([*_stages(cells, "heldout"), *_stages(cells, "curves")]):
        rows = {
            variant: _over_seeds([_figures(run, stage) for run in runs.values()])
            for variant, runs in _own(cells, stage).items()
        }
        if any(rows.values()):
            found[stage] = rows
    return found


def shared(cells: Iterable[Cell], stage: str) -> dict[str, str]:
    """Variant to the earlier one whose runs of a stage are its own: same fingerprints and seeds."""
    first: dict[tuple[tuple[int, str], ...], str] = {}
    found = {}
    for variant, runs in _by_variant(cells, stage).items():
        marks = tuple((s, run["stages"][stage].get("fingerprint", "")) for s, run in runs.items())
        earlier = first.setdefault(marks, variant)
        if earlier != variant and all(mark for _, mark in marks):
            found[variant] = earlier
    return found


def _stages(cells: Iterable[Cell], part: str) -> list[str]:
    """Stages that have this part, in the order they ran."""
    return list(
        dict.fromkeys(
            stage
            for cell in cells
            for stage in cell.run.get(part, {})
            if cell.run["stages"].get(stage, {}).get("kind") in METRICS
        )
    )


def _by_variant(cells: Iterable[Cell], stage: str) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Variant and seed to the run, where it has the stage."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda c: c.seed):
        if stage in cell.run.get("stages", {}):
            found.setdefault(cell.variant, {})[cell.seed] = cell.run
    order = dict.fromkeys(cell.variant for cell in cells)
    return {variant: found[variant] for variant in order if variant in found}


def _own(cells: Sequence[Cell], stage: str) -> dict[str, dict[int, Mapping[str, Any]]]:
    """As `_by_variant`, without variants whose runs are an earlier one's."""
    same = shared(cells, stage)
    return {v: runs for v, runs in _by_variant(cells, stage).items() if v not in same}


def _stage(cells: Sequence[Cell], stage: str) -> dict[str, Any]:
    own = _own(cells, stage)
    kind = next(iter(next(iter(own.values())).values()))["stages"][stage]["kind"]
    curves = {variant: _variant(runs, stage, kind) for variant, runs in own.items()}
    spreads = {v: metrics["reward_std"]["first"] for v, metrics in curves.items()
               if kind == "grpo" and "reward_std" in metrics}  # fmt: skip
    return {
        "kind": kind,
        "shared": shared(cells, stage),
        "curves": curves,
        "thresholds": {
            v: {"reward_std": COLLAPSED * spread, "frac_reward_zero_std": ALIKE_HIGH}
            for v, spread in spreads.items()
        },
    }


def _variant(runs: Mapping[int, Mapping[str, Any]], stage: str, kind: str) -> dict[str, Any]:
    found = {seed: run["curves"].get(stage, {}) for seed, run in runs.items()}
    logged = dict.fromkeys(metric for curves in found.values() for metric in curves)
    kept = [m for m in logged if _kept(m, kind)]
    return {m: _curve({s: c[m] for s, c in found.items() if c.get(m)}) for m in kept}


def _kept(metric: str, kind: str) -> bool:
    judge = metric.startswith("judges/") and metric.endswith("/mean")
    return metric.removeprefix("eval_") in METRICS[kind] or judge


def _curve(by_seed: Mapping[int, Points]) -> dict[str, Any]:
    steps = set.intersection(*({step for step, _ in points} for points in by_seed.values()))
    values = [{step: value for step, value in points} for points in by_seed.values()]
    average = [[s, sum(v[s] for v in values) / len(values)] for s in sorted(steps)]
    tenths = [max(1, len(points) // 10) for points in by_seed.values()]
    ends = list(zip(by_seed.values(), tenths, strict=True))
    return {
        "mean": binned(average),
        "seeds": {str(seed): binned(points) for seed, points in by_seed.items()},
        "first": sum(mean(points[:n]) for points, n in ends) / len(ends),
        "last": sum(mean(points[-n:]) for points, n in ends) / len(ends),
    }


def binned(points: Points) -> list[list[float]]:
    """At most `POINTS` points: each the mean step and value of consecutive ones."""
    count = min(POINTS, len(points))
    cuts = [len(points) * i // count for i in range(count + 1)] if points else []
    parts = [points[a:b] for a, b in pairwise(cuts)]
    return [[sum(s for s, _ in part) / len(part), mean(part)] for part in parts]


def _figures(run: Mapping[str, Any], stage: str) -> dict[str, float]:
    """A run's held-out figures of a stage by name."""
    found = run.get("heldout", {}).get(stage, {})
    if "accuracy" in found:
        figures = {key: found[key] for key in OF_REWARD_MODELS if found.get(key) is not None}
    else:
        figures = {
            f"bits_per_byte, {source}": facts["bits_per_byte"]
            for source, facts in found.items()
            if isinstance(facts, Mapping) and "bits_per_byte" in facts
        }
    if run["stages"][stage]["kind"] == "preference":
        curves = run["curves"].get(stage, {})
        figures |= {m: curves[f"eval_{m}"][-1][1] for m in PAIRS if curves.get(f"eval_{m}")}
    return figures


def _over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Figures that every seed has, averaged over them."""
    names = [name for name in runs[0] if all(name in figures for figures in runs)]
    values = {name: [figures[name] for figures in runs] for name in names}
    return {
        name: {"mean": sum(v) / len(v), "range": [min(v), max(v)], "per_seed": v}
        for name, v in values.items()
    }
