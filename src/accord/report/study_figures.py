"""Figures of a study's scores: prompts, averages, what changed, ranks, and the price in KL."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.drawing import Drawing, canvas, drawing, label_ends, legend
from accord.report.numbers import signed
from accord.report.svg import INK, MUTED, PAPER, SERIES, style

Document = Mapping[str, Any]
WIDE = 9.9
"""Inches of a figure that takes the page's whole width."""
PROMPTS = 24
"""Prompts up to which a figure shows each of them; beyond, the first ones."""
PALE, DEEP = 0.06, 0.62
"""Least and greatest opacity of a heat-map's cells: numbers stay readable on both."""
NAMES: Mapping[str, str] = {"o": "dots", "s": "squares", "^": "triangles", "D": "diamonds"}
SHAPES = tuple(NAMES)
"""Markers of the ways in which variants were evaluated."""
UP, DOWN = SERIES[1], SERIES[2]


def colours(document: Document) -> dict[str, str]:
    """Policy to colour: references in grey, the others in the order they stand."""
    references = set(document["references"].values())
    others = [name for name in document["policies"] if name not in references]
    found = {name: SERIES[1 + i % (len(SERIES) - 1)] for i, name in enumerate(others)}
    return {name: found.get(name, SERIES[0]) for name in document["policies"]}


def decimals(document: Document, scorer: str) -> int:
    """Decimals for a scorer, the same in every table and figure: by the size of its averages."""
    means = [
        abs(scores[scorer]["mean"])
        for policies in document["averages"].values()
        for scores in policies.values()
    ]
    return 2 if max(means) < 10 else 1


def per_prompt(document: Document, variant: str, scorer: str) -> Drawing:
    """A bar for each policy on each prompt, averaged over seeds."""
    with mpl.rc_context(style()):
        figure, axes = canvas(WIDE, 2.3)
        found = document["per_prompt"][variant]
        count = _shown(document)
        width = 0.8 / len(found)
        for i, (policy, scores) in enumerate(found.items()):
            places = np.arange(count) + 1 + (i - (len(found) - 1) / 2) * width
            axes.bar(places, scores[scorer][:count], width * 0.92, label=policy,
                     color=colours(document)[policy])  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.set_xticks(range(1, count + 1))
        axes.grid(visible=False, axis="x")
        axes.set_xlim(0.4, count + 0.6)
        axes.set_ylabel(f"{scorer}")
        axes.set_xlabel("prompt")
        legend(axes)
        caption = f"Mean {scorer} over {_seeds(document, variant)}. {_which(document)}"
        title = f"{variant}: {scorer} of every prompt"
        return drawing(figure, f"prompts-{scorer}-{variant}", title, caption)


def averages(document: Document, scorer: str) -> Drawing:
    """A panel for each policy, a row for each variant: mean and interval on one scale."""
    with mpl.rc_context(style()):
        variants, policies = document["variants"], document["policies"]
        figure = Figure(figsize=(WIDE, 0.75 + 0.25 * len(variants)), layout="constrained")
        panels = figure.subplots(1, len(policies), sharex=True, sharey=True, squeeze=False)[0]
        for axes, policy in zip(panels, policies, strict=True):
            colour = colours(document)[policy]
            axes.set_title(policy, loc="left", fontsize=9, color=colour, pad=5)
            for row, variant in enumerate(variants):
                found = document["averages"][variant].get(policy)
                if found:
                    _average(axes, found[scorer], row, colour)
            axes.set_yticks(range(len(variants)), variants)
            axes.tick_params(axis="y", labelcolor=INK)
            axes.set_ylim(len(variants) - 0.5, -0.5)
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
            axes.set_xlabel(f"mean {scorer}")
        caption = (
            f"Mean {scorer} over prompts and seeds with its 95 % interval; small dots are single "
            "seeds. Intervals of two means can overlap where their paired difference is not 0."
        )
        return drawing(figure, f"averages-{scorer}", f"Average {scorer}", caption)


def before_after(document: Document, pair: tuple[str, str], scorer: str) -> Drawing:
    """A line for each policy from one variant's mean to another's, with intervals."""
    with mpl.rc_context(style()):
        figure, axes = canvas()
        both = [p for p in document["policies"] if all(p in document["averages"][v] for v in pair)]
        ends = []
        for i, policy in enumerate(both):
            colour = colours(document)[policy]
            found = [document["averages"][variant][policy][scorer] for variant in pair]
            aside = 0.018 * (i - (len(both) - 1) / 2)
            places = [aside, 1 + aside]
            axes.plot(places, [f["mean"] for f in found], "o-", color=colour, markersize=5)
            for x, average in zip(places, found, strict=True):
                axes.plot([x, x], average["ci95"], color=colour, linewidth=2, alpha=0.4)
            ends.append((found[1]["mean"], policy, colour))
        axes.set_xlim(-0.12, 1.12)
        axes.set_xticks([0, 1], list(pair))
        axes.tick_params(axis="x", labelcolor=INK)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(f"mean {scorer}")
        label_ends(axes, ends)
        caption = f"Means with 95 % intervals. {_verdict(document, pair)}"
        name = f"before-{scorer}-{pair[0]}-{pair[1]}"
        return drawing(figure, name, f"{scorer}: {pair[0]} → {pair[1]}", caption)


def heat_map(document: Document, variant: str, scorer: str) -> Drawing:
    """By how much each policy differs from the reference on each prompt."""
    with mpl.rc_context(style()):
        found, count = document["deltas"][variant][scorer], _shown(document)
        largest = max(
            (
                abs(v)
                for d in document["deltas"].values()
                for row in d[scorer]["matrix"]
                for v in row
            ),
            default=0.0,
        )
        digits = next((d for d, most in ((2, 2.0), (1, 20.0)) if largest < most), 0)
        figure, axes = canvas(WIDE, 0.7 + 0.33 * len(found["policies"]))
        for row, values in enumerate(found["matrix"]):
            for column, value in enumerate(values[:count], 1):
                depth = PALE + (DEEP - PALE) * abs(value) / (largest or 1.0)
                colour = UP if value > 0 else DOWN
                axes.fill_between([column - 0.48, column + 0.48], row - 0.46, row + 0.46,
                                  color=colour, alpha=depth, linewidth=0)  # fmt: skip
                axes.annotate(signed(value, digits), (column, row), ha="center", va="center",
                              color=INK, fontsize=8)  # fmt: skip
        axes.set_xticks(range(1, count + 1))
        axes.set_yticks(range(len(found["policies"])), found["policies"])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlim(0.5, count + 0.5)
        axes.set_ylim(len(found["policies"]) - 0.5, -0.5)
        axes.set_xlabel("prompt")
        reference = document["references"][variant]
        title = f"{variant}: {scorer} less {reference}'s"
        caption = (
            f"Blue is above {reference}, orange below; one scale for all variants. "
            f"Means over {_seeds(document, variant)}. {_which(document)}"
        )
        return drawing(figure, f"deltas-{scorer}-{variant}", title, caption)


def bump(document: Document, scorer: str) -> Drawing:
    """The rank of every policy in every variant, 1 for the highest mean."""
    with mpl.rc_context(style()):
        variants, count = document["variants"], len(document["policies"])
        figure, axes = canvas(WIDE if len(variants) > 3 else 4.7, 0.9 + 0.34 * count)
        ends = []
        for policy in document["policies"]:
            ranks = [
                (x, document["ranks"][variant][scorer]["overall"][policy])
                for x, variant in enumerate(variants)
                if policy in document["ranks"][variant][scorer]["overall"]
            ]
            colour = colours(document)[policy]
            axes.plot(*zip(*ranks, strict=True), "o-", color=colour, linewidth=2, markersize=13)
            for x, rank in ranks:
                axes.annotate(f"{rank:g}", (x, rank), ha="center", va="center", color=PAPER,
                              fontsize=7.5)  # fmt: skip
            ends.append((ranks[-1][1], policy, colour))
        axes.set_xticks(range(len(variants)), variants)
        axes.tick_params(axis="x", labelcolor=INK)
        axes.set_yticks([])
        axes.set_ylim(count + 0.5, 0.5)
        axes.margins(x=0.04)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        _named_at_ends(axes, ends)
        caption = "Ranks of means: they say nothing of whether two are told apart."
        return drawing(figure, f"ranks-{scorer}", f"Rank by mean {scorer}", caption)


def frontiers(document: Document, scorer: str) -> Iterator[Drawing]:
    """Score against KL: a point a variant, a line through those that were evaluated alike."""
    points = [(p, point) for p, found in document["frontier"].items() for point in found]
    if not any(point["kl"]["mean"] for _, point in points):
        return
    with mpl.rc_context(style()):
        figure, axes = canvas(height=3.1)
        ways = dict(zip(dict.fromkeys(p["alike"] for _, p in points), cycle(SHAPES), strict=False))
        lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
        shades: dict[str, str] = {}
        for policy, point in points:
            shade = shades.setdefault(point["method"], colours(document)[policy])
            means = point["kl"]["mean"], point["scores"][scorer]["mean"]
            lines.setdefault((point["method"], point["alike"]), []).append(means)
            _spread(axes, point["kl"], point["scores"][scorer], shade)
        for (method, alike), means in lines.items():
            axes.plot(*zip(*sorted(means), strict=True), f"{ways[alike]}-", color=shades[method],
                      linewidth=1.1, markersize=5.5,
                      label=method if alike == next(iter(ways)) else None)  # fmt: skip
        legend(axes)
        axes.margins(0.06)
        axes.set_xlabel("KL from the reference, nats a completion")
        axes.set_ylabel(f"mean {scorer}")
        yield drawing(figure, f"frontier-{scorer}", f"{scorer} against KL", _frontier_caption(ways))


def _frontier_caption(ways: Mapping[str, str]) -> str:
    caption = (
        "Each large point is a variant, with 95 % intervals both ways; small points are its "
        "seeds; a line joins a method's variants, or its n, in order of KL."
    )
    if len(ways) == 1:
        return caption
    named = "; ".join(f"{NAMES[shape]}: as {variant}" for variant, shape in ways.items())
    named = named[0].upper() + named[1:]
    return f"{caption} Only those that were evaluated alike are joined. {named}."


def _spread(axes: Axes, kl: Mapping[str, Any], score: Mapping[str, Any], colour: str) -> None:
    """Intervals of a point both ways, and its seeds."""
    axes.plot(kl["ci95"], [score["mean"]] * 2, color=colour, linewidth=2, alpha=0.35)
    axes.plot([kl["mean"]] * 2, score["ci95"], color=colour, linewidth=2, alpha=0.35)
    axes.plot(kl["per_seed"], score["per_seed"], "o", color=colour, markersize=2.6, alpha=0.5,
              markeredgewidth=0)  # fmt: skip


def _average(axes: Axes, found: Mapping[str, Any], row: int, colour: str) -> None:
    axes.plot(found["ci95"], [row, row], color=colour, linewidth=2.2, alpha=0.45)
    seeds = found["per_seed"]
    if len(seeds) > 1:
        axes.plot(seeds, [row + 0.24] * len(seeds), "o", color=colour, markersize=2.4, alpha=0.6,
                  markeredgewidth=0)  # fmt: skip
    axes.plot(found["mean"], row, "o", color=colour, markersize=5.5)


def _named_at_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the last points of lines that cannot overlap unless they tie."""
    at: dict[float, list[tuple[str, str]]] = {}
    for rank, name, colour in ends:
        at.setdefault(rank, []).append((name, colour))
    for rank, names in at.items():
        for i, (name, colour) in enumerate(names):
            below = 0.3 * (i - (len(names) - 1) / 2)
            axes.annotate(name, (1.0, rank + below), (6, 0), color=colour, va="center",
                          xycoords=("axes fraction", "data"), textcoords="offset points",
                          annotation_clip=False)  # fmt: skip


def _shown(document: Document) -> int:
    return min(PROMPTS, len(document["prompts"]))


def _which(document: Document) -> str:
    count, shown = len(document["prompts"]), _shown(document)
    first = f"The first {shown} of {count} prompts by their ids. " if shown < count else ""
    return f"{first}The table of prompts says which is which."


def _seeds(document: Document, variant: str) -> str:
    count = len(document["seeds"][variant])
    return "1 seed" if count == 1 else f"{count} seeds"


def _verdict(document: Document, pair: tuple[str, str]) -> str:
    """What may be said of two variants, of the document's own sentence."""
    for contrast in document["factors"]["contrasts"]:
        if (contrast["before"], contrast["after"]) == pair:
            sides = [side for side in ("training", "evaluation") if contrast[side]]
            if len(sides) == 2:
                return "Training and evaluation both changed: no effect of training."
            return f"Only {sides[0]} changed." if sides else "Nothing changed: chance."
    return ""
