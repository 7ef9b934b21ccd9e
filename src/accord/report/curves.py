"""Figures of training: the losses, and what preference and reward stages learned."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl

from accord.evaluation.findings.rollouts import KINDS
from accord.report.drawing import Drawing, Points, canvas, drawing, over_steps
from accord.report.svg import MUTED, SERIES, style

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


def reward_models(document: Document) -> list[str]:
    """Stages whose held-out figures are those of pairs, not of text."""
    return [name for name, found in document["heldout"].items() if "accuracy" in found]


def reward_figures(document: Document) -> list[Drawing]:
    """For each reward model the distribution of its scores, and its confidence beside its hits."""
    with mpl.rc_context(style()):
        return [d for name in reward_models(document) for d in _scores(document["heldout"], name)]


def _scores(heldout: Mapping[str, Any], name: str) -> Iterator[Drawing]:
    found = heldout[name]
    if "rewards" in found:
        histogram = found["rewards"]["histogram"]
        figure, axes = canvas()
        axes.stairs(histogram["counts"], histogram["edges"], fill=True, color=SERIES[1], alpha=0.75)
        axes.set_xlabel("score of a held-out response")
        axes.set_ylabel("responses")
        title, caption = f"{name}: scores", "How the scores of held-out responses are distributed."
        yield drawing(figure, f"{name}-scores", title, caption)
    if found.get("calibration"):
        figure, axes = canvas()
        axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        bins = [(b["confidence"], b["accuracy"]) for b in found["calibration"]]
        sizes = [b["pairs"] for b in found["calibration"]]
        areas = [12 + 110 * size / max(sizes) for size in sizes]
        axes.plot(*zip(*bins, strict=True), color=SERIES[1], linewidth=1.4)
        axes.scatter(*zip(*bins, strict=True), s=areas, color=SERIES[1], linewidths=0)
        axes.set_xlabel("confidence: σ of the difference of scores")
        axes.set_ylabel("share in the right order")
        caption = "Dots by how many pairs they stand for; on the dashed line confidence is earned."
        yield drawing(figure, f"{name}-calibration", f"{name}: calibration", caption)


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
