"""Two runs on one page, from their comparison; computes nothing."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from accord.report.drawing import NARROW, Drawing, canvas, drawing, over_steps
from accord.report.environment import pages
from accord.report.glossary import tooltip
from accord.report.numbers import Numbers
from accord.report.svg import INK, MUTED, SERIES, VARIABLES, style

Document = Mapping[str, Any]

LABELS = {"a": "A", "b": "B"}
DRAWN = {
    "loss": "What training minimised.",
    "eval_loss": "The same on held-out rows.",
    "rewards/margins": "β times by how much more the chosen side gained than the rejected one.",
    "reward": "Mean reward of each roll-out.",
    "objective/kl": "KL from the reference in roll-outs, nats a completion.",
}
"""Caption of every curve that a comparison keeps."""
COLOURS = {"a": 1, "b": 2}
"""Place in `svg.SERIES` of each side; grey is the reference's."""


def render(document: Document) -> str:
    """The page of a comparison: no script, no address, nothing loaded from elsewhere.

    Args:
        document: What `evaluation.compare.document.compare_document` returns.
    """
    environment = pages()
    environment.filters.update(digits=digits, shown=_shown)
    environment.globals.update(explain=tooltip)
    return environment.get_template("compare.html.j2").render(
        document=document,
        num=Numbers(document),
        colours={side: VARIABLES[SERIES[at]] for side, at in COLOURS.items()},
        differences=difference_figures(document),
        curves=curve_figures(document),
    )


def write(document: Document, folder: Path) -> Path:
    """Write `compare.html` and `compare.json` into `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "compare.json").write_text(numbers + "\n", encoding="utf-8")
    page = folder / "compare.html"
    page.write_text(render(document), encoding="utf-8")
    return page


def difference_figures(document: Document) -> list[Drawing]:
    """B − A of every policy with its interval, a figure a scorer that is comparable."""
    scorers = dict.fromkeys(claim["scorer"] for claim in document["claims"])
    with mpl.rc_context(style()):
        return [_differences(document, scorer) for scorer in scorers]


def curve_figures(document: Document) -> list[Drawing]:
    """Curves of both runs over each other, a figure a stage and metric."""
    with mpl.rc_context(style()):
        return list(_curves(document))


def digits(value: float | None) -> int:
    """Decimals that show about four figures of a number."""
    size = abs(value or 0.0)
    return next((places for bound, places in ((10, 3), (100, 2), (1000, 1)) if size < bound), 0)


def _shown(value: Any) -> str:
    """A setting as it stands in a recipe; a dash where it is not set."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _differences(document: Document, scorer: str) -> Drawing:
    claims = [claim for claim in document["claims"] if claim["scorer"] == scorer]
    figure, axes = canvas(NARROW, 0.75 + 0.36 * len(claims))
    for row, claim in enumerate(claims):
        colour = SERIES[COLOURS["b"] if claim["distinguishable"] else 0]
        axes.plot(claim["ci95"], [row, row], color=colour, linewidth=2.2, alpha=0.45)
        axes.plot(claim["difference"], row, "o", color=colour, markersize=6.5)
    axes.axvline(0, color=MUTED, linewidth=0.9)
    axes.set_yticks(range(len(claims)), [claim["context"] for claim in claims])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_ylim(len(claims) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.1)
    axes.set_xlabel(f"{scorer}, B − A")
    caption = (
        "Paired by prompt, with 95 % intervals over prompts; grey: not told from 0 after Holm."
    )
    return drawing(figure, f"difference-{scorer}", f"Difference in {scorer}", caption)


def _curves(document: Document) -> Iterator[Drawing]:
    for stage, metrics in document["curves"].items():
        for metric, found in metrics.items():
            lines = [(LABELS[side], found[side], at) for side, at in COLOURS.items()]
            yield over_steps(f"{stage}-{metric}", f"{stage}: {metric}", DRAWN[metric], lines)
