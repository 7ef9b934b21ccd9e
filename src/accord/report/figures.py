"""The report's figures: what stands in the result document, drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.numbers import Numbers, number
from accord.report.svg import INK, MUTED, SERIES, style, to_svg

Document = Mapping[str, Any]
Points = Sequence[Sequence[float]]
WIDTH, NARROW, HEIGHT = 4.7, 3.5, 2.6
"""Inches: drawn small, so that letters stay readable on a phone; narrow: three abreast."""


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Args:
        name: Unique on the page.
        title: Headline above it.
        caption: What is drawn, in a sentence.
        svg: The `<svg>` element.
    """

    name: str
    title: str
    caption: str
    svg: str


def score_figures(document: Document) -> list[Drawing]:
    """Means with intervals, then distributions, a figure for each scorer."""
    with mpl.rc_context(style()):
        return [*_means(document), *_distributions(document)]


def frontier_figures(document: Document) -> list[Drawing]:
    """The headline's score against KL."""
    with mpl.rc_context(style()):
        return list(_frontiers(document))


def training_figures(document: Document) -> list[Drawing]:
    """Loss of every trained stage; margins, accuracy and log-probabilities of preference stages."""
    with mpl.rc_context(style()):
        return [d for name in document["curves"] for d in _stage(document, name)]


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
        figure, axes = _canvas(NARROW, 0.75 + 0.42 * len(colours))
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
        yield _drawing(
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
        figure, axes = _canvas(NARROW, 0.75 + 0.5 * len(counts))
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
        yield _drawing(
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
    figure, axes = _canvas()
    for name, colour in colours.items():
        policy = document["policies"][name]
        kl, score = policy["kl"], policy["scores"][scorer]
        axes.plot(kl["ci95"], [score["mean"]] * 2, color=colour, linewidth=2.2, alpha=0.45)
        axes.plot([kl["mean"]] * 2, score["ci95"], color=colour, linewidth=2.2, alpha=0.45)
        axes.plot(kl["mean"], score["mean"], "o", color=colour, markersize=6.5)
        axes.annotate(
            name, (kl["mean"], score["mean"]), (8, 7), textcoords="offset points", color=colour
        )
    axes.margins(0.16)
    axes.set_xlabel("KL from the reference, nats a sequence")
    axes.set_ylabel(f"mean {scorer}")
    yield _drawing(
        figure,
        "frontier",
        f"{scorer} against KL",
        f"What each policy's mean {scorer} cost in distance from the reference.",
    )


def _stage(document: Document, name: str) -> Iterator[Drawing]:
    curves = document["curves"][name]
    if "loss" in curves:
        lines = [("training", curves["loss"], 1), ("held out", curves.get("eval_loss", []), 2)]
        yield _curves(
            f"{name}-loss", f"{name}: loss", "At each step, and on held-out rows.", lines, "loss"
        )
    if document["stages"].get(name, {}).get("kind") != "preference":
        return
    yield from _preference(name, curves)


def _preference(name: str, curves: Mapping[str, Points]) -> Iterator[Drawing]:
    groups = (
        ("margins", "reward margin", ("rewards/margins",), "How much more the policy's implicit "
         "reward (beta included) prefers the chosen response."),
        ("accuracies", "accuracy", ("rewards/accuracies",), "Share of pairs whose chosen response "
         "has the higher implicit reward."),
        ("rewards", "chosen and rejected rewards", ("rewards/chosen", "rewards/rejected"),
         "Implicit rewards: below 0 a response is less likely than at the start."),
        ("logps", "chosen and rejected log-probability", ("logps/chosen", "logps/rejected"),
         "Log-probability of the responses, summed over their tokens."),
    )  # fmt: skip
    for key, title, metrics, caption in groups:
        lines = []
        for i, metric in enumerate(metrics):
            short = metric.split("/")[1] if len(metrics) > 1 else "training"
            held_out = f"{short}, held out" if len(metrics) > 1 else "held out"
            lines.append((short, curves.get(metric, []), 2 * i + 1))
            lines.append((held_out, curves.get(f"eval_{metric}", []), 2 * i + 2))
        if any(points for _, points, _ in lines):
            yield _curves(f"{name}-{key}", f"{name}: {title}", caption, lines, "")


def _curves(
    name: str,
    title: str,
    caption: str,
    lines: Sequence[tuple[str, Points, int]],
    ylabel: str,
) -> Drawing:
    """Lines over steps: every step's value thin and pale, held-out values strong, with dots."""
    figure, axes = _canvas()
    ends: list[tuple[float, str, str]] = []
    for label, points, series in lines:
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        colour = SERIES[series]
        if "held out" in label:
            axes.plot(steps, values, "o-", color=colour, linewidth=1.6, markersize=3.4)
        else:
            axes.plot(steps, values, color=colour, linewidth=1.0, alpha=0.8)
        tail = values[-max(1, len(values) // 12) :]
        ends.append((sorted(tail)[len(tail) // 2], label, colour))
    _label_ends(axes, ends)
    axes.set_xlabel("step")
    axes.set_ylabel(ylabel)
    axes.margins(x=0.01)
    return _drawing(figure, name, title, caption)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names of lines at their right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.085 * (high - low)
    placed: list[float] = []
    for value, _, _ in sorted(ends):
        placed.append(max(value, placed[-1] + gap) if placed else value)
    # moving apart pushes upward only: on average it is given back
    pushed = sum(y - end[0] for y, end in zip(placed, sorted(ends), strict=True))
    shift = pushed / len(placed) if placed else 0.0
    for y, (_, label, colour) in zip(placed, sorted(ends), strict=True):
        axes.annotate(
            label,
            (1.0, y - shift),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def _canvas(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row a policy, named on the left."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_ylim(len(names) - 0.45, -0.75)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _drawing(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    safe = "".join(c if c.isalnum() else "-" for c in name)
    return Drawing(safe, title, caption, to_svg(figure, safe, escape(title, quote=True)))
