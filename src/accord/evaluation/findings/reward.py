"""Checks of reward models: against chance and a bag of words, calibration, length."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from accord.evaluation.findings.finding import Document, Finding, signed

CALIBRATION_OFF = 0.10
"""Expected calibration error worth a warning."""
SURE = 3.0
"""Standard errors of a share by which scores must miss it before that counts."""
LENGTH_TIED = 0.50
"""Correlation of score and length worth a warning, to either side."""


def held_out(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Reward stages with what was measured on their held-out pairs."""
    for name, stage in document.get("stages", {}).items():
        found = document.get("heldout", {}).get(name, {})
        if stage.get("kind") == "reward" and "accuracy" in found:
            yield name, found


def accuracy(document: Document) -> Iterator[Finding]:
    """Whether the model tells better from worse, and better than counted words do."""
    for stage, found in held_out(document):
        ours, low, high = _accuracy(found)
        evidence: dict[str, Any] = {"stage": stage, "accuracy": ours, "ci95": [low, high]}
        numbers = f"{ours:.1%} [{low:.1%}, {high:.1%}] of held-out pairs in the right order"
        if low <= 0.5:
            yield Finding(
                "reward_model_at_chance",
                "problem",
                f"{stage} puts {numbers}: no better than tossing a coin.",
                evidence,
                "raise lr or the number of steps, and see that chosen and rejected differ",
            )
        elif not found.get("baseline"):
            yield Finding("reward_model_accuracy", "info", f"{stage} puts {numbers}.", evidence)
        else:
            yield _beside_baseline(stage, numbers, found, evidence)


def _beside_baseline(
    stage: str, numbers: str, found: Mapping[str, Any], evidence: Mapping[str, Any]
) -> Finding:
    baseline = found["baseline"]
    theirs, (low, high) = baseline["accuracy"], baseline["margin_over_ci95"]
    ahead = f"{_points(baseline['margin_over'])} points [{_points(low)}, {_points(high)}]"
    evidence = {**evidence, "baseline": theirs, "ahead": baseline["margin_over"]}
    if baseline["margin_over"] >= 0:
        sentence = f"{stage} puts {numbers}, a TF-IDF ridge {theirs:.1%}: ahead by {ahead}."
        return Finding("reward_model_accuracy", "info", sentence, evidence)
    return Finding(
        "reward_model_below_baseline",
        "problem" if high < 0 else "warning",
        f"{stage} puts {numbers}, fewer than a TF-IDF ridge on the same rows, {theirs:.1%}: "
        f"{ahead}.",
        evidence,
        "start from a better pretrained trunk, train on more pairs, or add a regression to the "
        "rating (pairs.regression)",
    )


def calibration(document: Document) -> Iterator[Finding]:
    """Differences of scores that promise more, or less, than they hold."""
    for stage, found in held_out(document):
        error = found.get("ece")
        if error is None or error <= CALIBRATION_OFF:
            continue
        bins = found.get("calibration", [])
        if bins and not any(_misses(b) for b in bins):
            continue  # so few pairs that a model whose promises hold would look like that
        surplus = sum(b["pairs"] * (b["confidence"] - b["accuracy"]) for b in bins)
        more = surplus > 0
        yield Finding(
            "reward_model_miscalibrated",
            "warning",
            f"{stage} is {'surer' if more else 'less sure'} of its order than it is right: its "
            f"differences of scores are off as log-odds by {error:.0%} on average.",
            {"stage": stage, "ece": error, "surplus": surplus},
            "train for fewer steps or raise weight_decay"
            if more
            else "train for more steps or raise lr",
        )


def _misses(part: Mapping[str, Any]) -> bool:
    """Whether the accuracy of a bin is not that of its confidence, chance allowed for."""
    promised, pairs = part["confidence"], part["pairs"]
    error = math.sqrt(max(promised * (1.0 - promised), 1.0 / (4.0 * pairs)) / pairs)
    return abs(promised - part["accuracy"]) > SURE * error


def length(document: Document) -> Iterator[Finding]:
    """A reward model that pays for length."""
    for stage, found in held_out(document):
        tie = found.get("length_correlation")
        if tie is not None and abs(tie) > LENGTH_TIED:
            yield Finding(
                "reward_model_reads_length",
                "warning",
                f"{stage}'s scores go with length (correlation {signed(tie)}): a policy can be "
                "paid in tokens.",
                {"stage": stage, "length_correlation": tie},
                "match pairs in length (pairs.length_ratio), or weigh a length function against it",
            )


def _accuracy(found: Mapping[str, Any]) -> tuple[float, float, float]:
    low, high = found["ci95"]
    return found["accuracy"], low, high


def _points(share: float) -> str:
    return signed(100 * share, 1)
