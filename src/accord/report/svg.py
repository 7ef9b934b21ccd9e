"""Matplotlib figures as inline SVG that takes its colours from the page.

Colours are drawn as placeholders and replaced by CSS variables, so that one drawing serves light,
dark and print. The bytes depend on the figure alone: no date, no random ids, no pyplot state.
"""

import io
import re
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#000001", "#000002", "#000003", "#000004"
SERIES = ("#000100", "#000101", "#000102", "#000103", "#000104", "#000105")
"""The first is the reference's."""
VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES)},
}
STYLE: Mapping[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "accord",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element for use inside HTML.

    Args:
        figure: Drawn under `STYLE`, with the placeholder colours only.
        name: Prefix of every id inside, unique on the page.
        label: What a screen reader says.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    return _inline(buffer.getvalue(), name, label)


def style() -> mpl.RcParams:
    """A copy of matplotlib's defaults with `STYLE`, for `matplotlib.rc_context`."""
    params = mpl.rcParamsDefault.copy()
    params.update(STYLE)  # type: ignore[arg-type]
    return params


def _inline(text: str, name: str, label: str) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # inside HTML the namespaces are implied; what looks like an address must not stand in the page
    body = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    view = re.search(r'viewBox="[^"]*"', body)
    box = view.group(0) if view else ""
    body = re.sub(r"<svg[^>]*>", f'<svg {box} role="img" aria-label="{label}">', body, count=1)
    return re.sub(r"\n\s*", "\n", body).strip()
