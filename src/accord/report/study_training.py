"""Figures of a study's training: a column a variant, thin lines single seeds, thick their mean."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.drawing import WIDTH, Drawing, drawing
from accord.report.study_figures import WIDE, Document, colours
from accord.report.svg import INK, MUTED, SERIES, style

ABREAST = 4
"""Variants beside one another; further ones stand in figures of their own."""
NARROW = 2
"""Variants up to which a figure takes half the page."""
LONGEST = 20
"""Letters of a variant's name above a column."""
UNEQUAL = 8.0
"""Ratio of ranges beyond which panels of a row have scales of their own."""
Rows = Sequence[tuple[str, str]]
"""Title and metric of each row of panels."""

DYNAMICS: Rows = (
    ("loss", "loss"),
    ("reward margin", "rewards/margins"),
    ("log p(chosen)", "logps/chosen"),
)
SPREAD: Rows = (
    ("spread in a group", "reward_std"),
    ("groups without", "frac_reward_zero_std"),
)
REWARD: Rows = (("reward", "reward"), ("KL, nats", "objective/kl"))
SAID: Mapping[str, str] = {
    "dynamics": "At log 2 the policy is its reference; a loss at 0 learns nothing more. A chosen "
    "log-probability that falls means that the policy leaves what was preferred, too.",
    "spread": "Below the dashed line in the upper row the spread is a tenth of what it was at the "
    "start; above that of the lower row most groups are all alike, and such groups give no "
    "gradient.",
    "reward": "The reward is what is maximised; a judge is never trained on.",
}


def training_figures(document: Document) -> list[tuple[int, Drawing]]:
    """Dynamics of preference stages, group spread of GRPO, reward and KL of all roll-outs.

    Each with the number of variants abreast, by which its width goes.
    """
    with mpl.rc_context(style()):
        return [found for stage in document["training"] for found in _stage(document, stage)]


def _stage(document: Document, stage: str) -> Iterator[tuple[int, Drawing]]:
    found = document["training"][stage]
    kind = found["kind"]
    logged = dict.fromkeys(m for metrics in found["curves"].values() for m in metrics)
    judges = [(f"judge: {m.split('/')[1]}", m) for m in logged if m.startswith("judges/")]
    figures: list[tuple[str, str, Rows]] = []
    if kind in ("preference", "online"):
        figures.append(("dynamics", "loss and margin", DYNAMICS))
    if kind in ("ppo", "grpo", "online"):
        figures.append(("reward", "reward and KL", (*REWARD, *judges)))
    if kind == "grpo":
        figures.append(("spread", "group spread", SPREAD))
    for key, title, rows in figures:
        there = [row for row in rows if row[1] in logged]
        variants = [v for v, metrics in found["curves"].items() if metrics]
        for start in range(0, len(variants), ABREAST):
            shown = variants[start : start + ABREAST]
            if there:
                name = f"{stage}-{key}-{start}"
                yield (
                    len(shown),
                    _grid(document, (stage, name, f"{stage}: {title}", SAID[key]), shown, there),
                )


def _grid(
    document: Document, called: tuple[str, str, str, str], variants: Sequence[str], rows: Rows
) -> Drawing:
    stage, name, title, caption = called
    found = document["training"][stage]
    colour = colours(document).get(stage, SERIES[1])
    width = WIDTH if len(variants) <= NARROW else WIDE
    figure = Figure(figsize=(width, 0.5 + 1.25 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(variants), sharex=True, squeeze=False)
    for axes_of_row, (label, metric) in zip(grid, rows, strict=True):
        for axes, variant in zip(axes_of_row, variants, strict=True):
            curve = found["curves"][variant].get(metric)
            if curve:
                _lines(axes, curve, colour)
            level = found["thresholds"].get(variant, {}).get(metric)
            if level is not None:
                axes.axhline(level, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.locator_params(axis="y", nbins=4)
            axes.locator_params(axis="x", nbins=4)
            axes.margins(x=0.01)
        axes_of_row[0].set_ylabel(label)
        _one_scale(list(axes_of_row))
    for axes, variant in zip(grid[0], variants, strict=True):
        axes.set_title(_heading(found, variant), loc="left", fontsize=8.5, color=INK, pad=5)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    lines = f"Thin: single seeds; thick: their mean.{_sharing(found, variants)}"
    return drawing(figure, name, title, f"{lines} {caption}")


def _lines(axes: Axes, curve: Mapping[str, Any], colour: str) -> None:
    if len(curve["seeds"]) > 1:
        for points in curve["seeds"].values():
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.7, alpha=0.4)
    if curve["mean"]:
        axes.plot(*zip(*curve["mean"], strict=True), color=colour, linewidth=1.9)


def _one_scale(row: Sequence[Axes]) -> None:
    """One scale for panels beside one another, unless one would be a flat line on it."""
    limits = [axes.get_ylim() for axes in row if axes.lines]
    ranges = [high - low for low, high in limits]
    if ranges and max(ranges) <= UNEQUAL * min(ranges):
        for axes in row:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _heading(found: Mapping[str, Any], variant: str) -> str:
    """The variant, shortened, and how many others the same runs stand for."""
    others = len(_same(found, variant))
    name = variant if len(variant) <= LONGEST else variant[: LONGEST - 1] + "…"
    return f"{name} (+{others})" if others else name


def _same(found: Mapping[str, Any], variant: str) -> list[str]:
    return [other for other, first in found["shared"].items() if first == variant]


def _sharing(found: Mapping[str, Any], variants: Sequence[str]) -> str:
    """Which variants stand for which others."""
    told = {variant: _same(found, variant) for variant in variants}
    return "".join(f" {v} stands for {', '.join(same)}, too." for v, same in told.items() if same)
