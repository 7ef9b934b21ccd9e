"""Whether a preference could be learned from length alone."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accord.data.check.finding import Finding, counted

Z95 = 1.959964
LEARNABLE = 0.6
"""Accuracy of a rule that looks at length alone from which there is a warning."""


@dataclass(frozen=True)
class LengthBias:
    """The lengths of the two sides of pairs beside each other.

    Args:
        unit: Of the lengths: `tokens` or `characters`.
        pairs: How many.
        chosen_mean: Mean length of the chosen sides.
        rejected_mean: Of the rejected sides.
        longer: Pairs whose chosen side is the longer one.
        equal: Pairs whose sides are equally long.
        share: longer / pairs.
        share_ci95: Its 95 % interval.
        rule: The better of two rules that read nothing: prefer the `longer` or the `shorter`.
        accuracy: Share of pairs that the rule gets right; equal lengths count half.
        accuracy_ci95: Its 95 % interval.
    """

    unit: str
    pairs: int
    chosen_mean: float
    rejected_mean: float
    longer: int
    equal: int
    share: float
    share_ci95: tuple[float, float]
    rule: str
    accuracy: float
    accuracy_ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self)


def length_bias(
    chosen: Sequence[int], rejected: Sequence[int], prompts: Sequence[Hashable], unit: str
) -> LengthBias:
    """Compare the sides' lengths; pairs of one prompt are taken as one draw in the intervals."""
    left, right = np.asarray(chosen), np.asarray(rejected)
    longer, equal = left > right, left == right
    right_P = longer + 0.5 * equal
    rule = "longer" if right_P.mean() >= 0.5 else "shorter"
    right_P = right_P if rule == "longer" else 1 - right_P
    clusters = np.unique(_numbers(prompts), return_inverse=True)[1]
    return LengthBias(
        unit,
        len(left),
        float(left.mean()),
        float(right.mean()),
        int(longer.sum()),
        int(equal.sum()),
        float(longer.mean()),
        interval(longer.astype(float), clusters),
        rule,
        float(right_P.mean()),
        interval(right_P, clusters),
    )


def _numbers(prompts: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])


def interval(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values in [0, 1] that come in clusters.

    Wilson's interval (JASA 22, 1927) with the number of values divided by the design effect: the
    variance of the mean by clusters over that of independent values (Kish, Survey Sampling, 1965,
    section 8.2). It never counts more values than there are.

    Args:
        values: [P].
        clusters: [P], the number of each value's cluster, from 0.
    """
    count, mean = len(values), float(values.mean())
    sums = np.bincount(clusters, weights=values - mean)
    variance = float((sums**2).sum()) / count**2
    independent = mean * (1 - mean)
    # where all values agree nothing tells clusters from copies: each cluster counts once
    effective = min(count, independent / variance) if variance > 0 else len(sums)
    shrink = 1 + Z95**2 / effective
    middle = (mean + Z95**2 / (2 * effective)) / shrink
    half = Z95 / shrink * np.sqrt(independent / effective + Z95**2 / (4 * effective**2))
    return max(0.0, middle - float(half)), min(1.0, middle + float(half))


def findings(bias: LengthBias) -> list[Finding]:
    """A warning where length alone tells the sides apart; a note where it helps a little."""
    low = bias.accuracy_ci95[0]
    if low <= 0.5:
        return []
    says = (
        f"'Always the {bias.rule}' is right for {100 * bias.accuracy:.1f} % of "
        f"{counted(bias.pairs, 'pair')} (95 % interval {_percent(bias.accuracy_ci95)}): "
    )
    if bias.accuracy < LEARNABLE:
        return [Finding("note", "length_bias", says + "length tells the sides apart a little.")]
    return [
        Finding(
            "warning",
            "length_bias",
            says + "the preference could be learned from length alone.",
            "balance the lengths, or use a loss that length does not reach: sigmoid_norm, ipo, "
            "simpo, or ld_alpha",
        )
    ]


def _percent(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f}"
