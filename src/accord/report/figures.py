"""Figures of the evaluation: means, distributions, and the score against KL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from accord.report.drawing import NARROW, Drawing, canvas, drawing, legend
from accord.report.numbers import Numbers, number
from accord.report.svg import INK, MUTED, SERIES, style

Document = Mapping[str, Any]


def score_figures(document: Document) -> list[Drawing]:
    """Means with intervals, then distributions, a figure for each scorer."""
    with mpl.rc_context(style()):
        return [*_means(document), *_distributions(document)]


def frontier_figures(document: Document) -> list[Drawing]:
    """The headline's score against KL."""
    with mpl.rc_context(style()):
        return list(_frontiers(document))


def policy_colours(document: Document) -> dict[str, str]:
    """Policy to colour: the reference in grey, the others in the order they stand."""
    reference = document["protocol"].get("reference")
    others = [name for name in document["policies"] if name != reference]
    colours = {name: SERIES[1 + i % (len(SERIES) - 1)] for i, name in enumerate(others)}
    return {name: colours.get(name, SERIES[0]) for name in document["policies"]}


def _means(document: Document) -> Iterator[Drawing]:
    colours = policy_colours(document)
    for scorer in document["protocol"].get("scorers", []):
        digits = Numbers(document).digits(scorer)
        figure, axes = canvas(NARROW, 0.75 + 0.42 * len(colours))
        for row, (name, colour) in enumerate(colours.items()):
            score = document["policies"][name]["scores"][scorer]
            low, high = score["ci95"]
            axes.plot([low, high], [row, row], color=colour, linewidth=2.2, alpha=0.45)
            axes.plot(score["mean"], row, "o", color=colour, markersize=6.5)
            axes.annotate(
                number(score["mean"], digits),
                (score["mean"], row),
                (0, 7),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
        _rows(axes, list(colours))
        axes.margins(x=0.14)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"mean {scorer}")
        yield drawing(
            figure,
            f"mean-{scorer}",
            f"Mean {scorer}",
            f"Mean {scorer} of each policy over the prompts, with its 95 % bootstrap interval.",
        )


def _distributions(document: Document) -> Iterator[Drawing]:
    colours = policy_colours(document)
    for scorer, histogram in document["histograms"].items():
        edges, counts = histogram["edges"], histogram["counts"]
        top = max((max(column) for column in counts.values()), default=1) or 1
        figure, axes = canvas(NARROW, 0.75 + 0.5 * len(counts))
        for row, (name, column) in enumerate(counts.items()):
            heights = [0.4 - row + 0.85 * (count / top - 1) for count in column]
            foot = -0.45 - row
            axes.stairs(heights, edges, baseline=foot, fill=True, color=colours[name], alpha=0.75)
            axes.axhline(foot, color=MUTED, linewidth=0.6)
        _rows(axes, list(counts))
        axes.set_yticks([-row for row in range(len(counts))], list(counts))
        axes.set_ylim(-len(counts) + 0.55, 0.55)
        axes.spines["bottom"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{scorer} of a completion")
        yield drawing(
            figure,
            f"spread-{scorer}",
            f"Distribution of {scorer}",
            f"How many completions of each policy have which {scorer}; same scale for all.",
        )


def _frontiers(document: Document) -> Iterator[Drawing]:
    colours = policy_colours(document)
    scorer = document["headline"].get("scorer")
    if scorer is None:
        return
    figure, axes = canvas()
    for name, colour in colours.items():
        policy = document["policies"][name]
        kl, score = policy["kl"], policy["scores"][scorer]
        axes.plot(kl["ci95"], [score["mean"]] * 2, color=colour, linewidth=2.2, alpha=0.45)
        axes.plot([kl["mean"]] * 2, score["ci95"], color=colour, linewidth=2.2, alpha=0.45)
        axes.plot(kl["mean"], score["mean"], "o", color=colour, markersize=6.5, label=name)
    axes.margins(0.1)
    legend(axes)
    axes.set_xlabel("KL from the reference, nats a sequence")
    axes.set_ylabel(f"mean {scorer}")
    yield drawing(
        figure,
        "frontier",
        f"{scorer} against KL",
        f"What each policy's mean {scorer} cost in distance from the reference.",
    )


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row a policy, named on the left."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_ylim(len(names) - 0.45, -0.75)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
