"""What the tables of `objectives` and the glossary know of a loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from accord.config import preference as settings
from accord.config.rl import GRPOStage
from accord.report.glossary.entry import Entry
from accord.report.glossary.losses import POLICY, PREFERENCE

REACHED = {
    "label_smoothing": settings.SMOOTHED,
    "margin_cap": settings.CAPPED,
    "f_divergence_type": settings.DIVERGING,
}
"""Settings that reach some losses only."""


@dataclass(frozen=True)
class LossWords:
    """A loss in words.

    Args:
        entry: What it is, settings to start with, what goes wrong, what to try.
        key: The recipe key that names it.
        stages: Kinds of stage that have this key.
        formula: Its formula.
        paper: Its source.
        settings: Which settings reach it, and whether it looks at a reference.
    """

    entry: Entry
    key: str
    stages: tuple[str, ...]
    formula: str
    paper: str
    settings: str


def loss_names() -> tuple[str, ...]:
    """Every value that names a loss; nothing of torch is loaded."""
    return (*pair_losses(), *label_losses(), *policy_losses())


def pair_losses() -> tuple[str, ...]:
    """Losses of pairs."""
    return get_args(settings.PairLoss)


def label_losses() -> tuple[str, ...]:
    """Losses of labelled answers."""
    return get_args(settings.LabelLoss)


def policy_losses() -> tuple[str, ...]:
    """Values of GRPO's loss_type."""
    return get_args(GRPOStage.model_fields["loss_type"].annotation)


def kinds_of_loss(name: str) -> Iterator[LossWords]:
    """The loss of that name, if there is one; loads torch for its formula."""
    if name in pair_losses():
        from accord.objectives.preference import LOSSES  # noqa: PLC0415  (loads torch)

        spec, stages = LOSSES[name], ("preference", "online")
        yield LossWords(
            PREFERENCE[name], "loss", stages, spec.formula, spec.paper, _reach(name, spec.own)
        )
    if name in label_losses():
        from accord.objectives.labels import LABEL_LOSSES  # noqa: PLC0415  (loads torch)

        row, own = LABEL_LOSSES[name], ("desirable_weight", "undesirable_weight")
        yield LossWords(
            PREFERENCE[name], "loss", ("preference",), row.formula, row.paper, _reach(name, own)
        )
    if name in policy_losses():
        from accord.objectives.policy import LOSSES as POLICIES  # noqa: PLC0415  (loads torch)

        found, reach = (
            POLICIES[name],
            "epsilon_high" if name == "cispo" else "epsilon, epsilon_high",
        )
        yield LossWords(
            POLICY[name], "loss_type", ("grpo",), found.formula, found.paper, f"tuned by {reach}"
        )


def _reach(name: str, own: tuple[str, ...]) -> str:
    keys = ["beta"] if name != "sft" else []
    keys += [*own, *(key for key, losses in REACHED.items() if name in losses)]
    needs = "no reference" if name in settings.FREE else "a reference"
    tuned = f"tuned by {', '.join(keys)}; " if keys else ""
    whole = "; a step must not be split" if name in settings.WHOLE else ""
    return f"{tuned}needs {needs}{whole}"
