"""Writes the tables of docs/losses.md from the tables of losses and the recipe's settings.

    python docs/losses.py

Each table stands between a comment that names it and the next comment; all other text stays.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import get_args

from accord.config.preference import (
    CAPPED,
    DIVERGING,
    FREE,
    LENGTHENED,
    NEEDS_SMOOTHING,
    SMOOTHED,
    WHOLE,
    LossSettings,
    PairLoss,
)
from accord.objectives.labels import LABEL_LOSSES, LabelSpec
from accord.objectives.preference_losses import LOSSES, LossSpec

PAGE = Path(__file__).with_suffix(".md")
PAIR_LOSSES = get_args(PairLoss)
REACH: Mapping[str, Collection[str]] = {
    "label_smoothing": SMOOTHED,
    "margin_cap": CAPPED,
    "f_divergence_type": DIVERGING,
    "ld_alpha": LENGTHENED,
    "weighting": PAIR_LOSSES,
}
"""Setting to the pair losses it changes; which these are is told once, above them all."""


def pair_table() -> str:
    """One row for every loss of pairs."""
    return table(
        ("`loss`", "loss of a pair", "reference", "settings beside `beta`", "source"),
        (
            (f"`{name}`", code(spec.formula), reference(name), own_settings(name), linked(spec))
            for name, spec in LOSSES.items()
        ),
    )


def label_table() -> str:
    """One row for every loss of single answers."""
    settings = "`desirable_weight` λ_D, `undesirable_weight` λ_U"
    return table(
        ("`loss`", "loss of an answer", "reference", "settings beside `beta`", "source"),
        (
            (f"`{name}`", code(spec.formula), "yes", settings, linked(spec))
            for name, spec in LABEL_LOSSES.items()
        ),
    )


def settings_table() -> str:
    """One row for every setting that several losses share."""
    rows = [(f"`{name}`", default(name), reached(names)) for name, names in REACH.items()]
    return table(("setting", "default", "changes"), rows)


TABLES = {"pairs": pair_table, "labels": label_table, "settings": settings_table}


def own_settings(name: str) -> str:
    """The settings that reach this loss and not nearly all others."""
    shared = [key for key, names in REACH.items() if name in names and len(names) < len(LOSSES) - 1]
    keys = [f"`{key}`" for key in (*LOSSES[name].own, *shared)]
    if name in NEEDS_SMOOTHING:
        keys[keys.index("`label_smoothing`")] += " (needed)"
    if name in WHOLE:
        keys.append("needs whole steps")
    return ", ".join(keys)


def reached(names: Collection[str]) -> str:
    """The losses by name, or those left out where they are fewer."""
    left_out = [f"`{name}`" for name in PAIR_LOSSES if name not in names]
    if len(left_out) > 1:
        return ", ".join(f"`{name}`" for name in PAIR_LOSSES if name in names)
    return "every loss of pairs" + "".join(f" but {name}" for name in left_out)


def reference(name: str) -> str:
    """Whether a loss needs the reference's log-probabilities."""
    return "no" if name in FREE else "yes"


def default(name: str) -> str:
    """A setting's default as a recipe would write it."""
    value = LossSettings.model_fields[name].default
    return "off" if value is None or value in {0.0, "none"} else f"`{value}`"


def linked(spec: LossSpec | LabelSpec) -> str:
    """The paper with its arXiv number as a link."""
    return re.sub(r"arXiv (\d+\.\d+)", r"[arXiv \1](https://arxiv.org/abs/\1)", spec.paper)


def code(formula: str) -> str:
    """A formula that a table's cell can hold: its bars would end the cell."""
    return f"`{formula.replace('|', '∣')}`"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rendered(page: str) -> str:
    """The page with every table as it should stand."""
    for name, make in TABLES.items():
        before, comment, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"{PAGE.name} has no place for the table '{name}'")
        page = f"{before}{comment}\n{make()}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
