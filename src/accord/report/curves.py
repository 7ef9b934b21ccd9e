"""Figures of training: the losses, and what preference and reward stages learned."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl

from accord.evaluation.findings.rollouts import KINDS
from accord.report.drawing import Drawing, Points, over_steps
from accord.report.svg import style

Document = Mapping[str, Any]
Group = tuple[str, str, tuple[str, ...], str]
"""Name, title, metrics and caption of a figure."""

PREFERENCE: tuple[Group, ...] = (
    ("margins", "reward margin", ("rewards/margins",),
     "How much more the policy's implicit reward (beta included) prefers the chosen response."),
    ("accuracies", "accuracy", ("rewards/accuracies",),
     "Share of pairs whose chosen response has the higher implicit reward."),
    ("rewards", "chosen and rejected rewards", ("rewards/chosen", "rewards/rejected"),
     "Implicit rewards: below 0 a response is less likely than at the start."),
    ("logps", "chosen and rejected log-probability", ("logps/chosen", "logps/rejected"),
     "Log-probability of the responses, summed over their tokens."),
)  # fmt: skip
REWARD: tuple[Group, ...] = (
    ("accuracy", "accuracy", ("accuracy",),
     "Share of pairs whose better response has the higher score."),
)  # fmt: skip
GROUPS: Mapping[str, tuple[Group, ...]] = {
    "preference": PREFERENCE,
    "online": PREFERENCE[:2],
    "reward": REWARD,
}
"""Figures beside the loss, by kind of stage."""


def training_figures(document: Document) -> list[Drawing]:
    """Loss of every stage that learns from fixed data; margins, accuracy and the like of others."""
    with mpl.rc_context(style()):
        return [drawn for name in document["curves"] for drawn in _stage(document, name)]


def _stage(document: Document, name: str) -> Iterator[Drawing]:
    found, kind = document["curves"][name], document["stages"].get(name, {}).get("kind")
    # what a policy stage's loss is taken on changes with the policy: it says little
    if "loss" in found and kind not in KINDS:
        lines = [("training", found["loss"], 1), ("held out", found.get("eval_loss", []), 2)]
        title, caption = f"{name}: loss", "At each step, and on held-out rows."
        yield over_steps(f"{name}-loss", title, caption, lines)
    for key, title, metrics, caption in GROUPS.get(kind or "", ()):
        lines = _lines(found, metrics)
        if any(points for _, points, _ in lines):
            yield over_steps(f"{name}-{key}", f"{name}: {title}", caption, lines)


def _lines(found: Mapping[str, Points], metrics: tuple[str, ...]) -> list[tuple[str, Points, int]]:
    lines: list[tuple[str, Points, int]] = []
    for i, metric in enumerate(metrics):
        short = metric.split("/")[1] if len(metrics) > 1 else "training"
        held_out = f"{short}, held out" if len(metrics) > 1 else "held out"
        lines.append((short, found.get(metric, []), 2 * i + 1))
        lines.append((held_out, found.get(f"eval_{metric}", []), 2 * i + 2))
    return lines
