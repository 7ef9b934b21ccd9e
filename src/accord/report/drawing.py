"""What the figures share: canvases, lines over steps, names at the ends of lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from accord.report.svg import INK, MUTED, SERIES, to_svg

Points = Sequence[Sequence[float]]
WIDTH, NARROW, HEIGHT = 4.7, 3.5, 2.6
"""Inches: drawn small, so that letters stay readable on a phone; narrow: three abreast."""
DOTTED = 16
"""Points up to which a line shows each of them."""


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


@dataclass(frozen=True)
class Line:
    """One curve of a panel.

    Args:
        label: Written at its end; empty where it stands alone.
        points: [step, value] pairs, at least one.
        colour: One of `svg.SERIES`.
    """

    label: str
    points: Points
    colour: str


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis.

    Args:
        title: What is measured, with its unit.
        lines: The curves.
    """

    title: str
    lines: Sequence[Line]


def canvas(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def drawing(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    """The figure as it stands on the page."""
    safe = "".join(c if c.isalnum() else "-" for c in name)
    return Drawing(safe, title, caption, to_svg(figure, safe, escape(title, quote=True)))


def over_steps(
    name: str, title: str, caption: str, lines: Sequence[tuple[str, Points, int]]
) -> Drawing:
    """Lines over steps: every step's value thin and pale, held-out values strong, with dots."""
    figure, axes = canvas()
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
        ends.append((_end(values), label, colour))
    label_ends(axes, ends)
    axes.set_xlabel("step")
    axes.margins(x=0.01)
    return drawing(figure, name, title, caption)


def stacked(
    name: str, title: str, caption: str, panels: Sequence[Panel], mark: float | None
) -> Drawing:
    """Panels one above the other over the same steps: values pale, their running mean strong.

    Args:
        name: Unique on the page.
        title: Headline above the figure.
        caption: What is drawn.
        panels: From top to bottom, at least one.
        mark: A step at which a line stands through all panels.
    """
    figure = Figure(figsize=(NARROW, 0.45 + 1.15 * len(panels)), layout="constrained")
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(column, panels, strict=True):
        axes.set_title(panel.title, loc="left", fontsize=8.5, color=INK, pad=4)
        for line in panel.lines:
            _smooth(axes, line)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.margins(x=0.01)
        axes.locator_params(axis="y", nbins=4)
        named = [(_end([v for _, v in x.points]), x.label, x.colour) for x in panel.lines]
        label_ends(axes, [end for end in named if end[1]], gap=0.17)
    column[-1].set_xlabel("step")
    return drawing(figure, name, title, caption)


def _smooth(axes: Axes, line: Line) -> None:
    steps, values = zip(*line.points, strict=True)
    if len(steps) <= DOTTED:
        axes.plot(steps, values, "o-", color=line.colour, linewidth=1.4, markersize=3.2)
        return
    axes.plot(steps, values, color=line.colour, linewidth=0.8, alpha=0.35)
    axes.plot(steps, running_mean(values, len(values) // 20), color=line.colour, linewidth=1.8)


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Each value averaged with up to `reach` neighbours on either side."""
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], gap: float = 0.085) -> None:
    """Names of lines at their right ends, moved apart where they would overlap.

    Args:
        axes: With all lines drawn.
        ends: Height, name and colour of each line.
        gap: Least distance of names, as a share of the axes' height.
    """
    low, high = axes.get_ylim()
    apart = gap * (high - low)
    placed: list[float] = []
    for value, _, _ in sorted(ends):
        placed.append(max(value, placed[-1] + apart) if placed else value)
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


def legend(axes: Axes) -> None:
    """Names of what was drawn, in its colours, above the axes."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=5,
        frameon=False,
        labelcolor="linecolor",
        borderpad=0.0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def _end(values: Sequence[float]) -> float:
    """The median of the last twelfth: where a noisy line ends."""
    tail = sorted(values[-max(1, len(values) // 12) :])
    return tail[len(tail) // 2]
