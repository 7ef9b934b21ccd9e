"""Held-out figures of a reward model while it trains, from sums alone.

Calibration error, correlation and spread are no means over pairs. What they are made of is: sums
that add up over micro-batches and ranks, so that the figures are those of the whole held-out set.
Axes: R responses, P pairs, B bins.
"""

import math
from collections.abc import Mapping

from torch import Tensor

BINS = 10
"""Equal parts of [0.5, 1] that pairs are put into by the model's confidence."""
BUCKETS = ("short", "medium", "long")

Edges = tuple[int, int]
"""Longest short and longest medium response, in tokens."""


def length_edges(lengths: list[int]) -> Edges:
    """Edges that cut lengths into thirds, as far as equal lengths allow; (0, 0) without any."""
    if not lengths:
        return 0, 0
    ordered = sorted(lengths)
    return ordered[(len(ordered) - 1) // 3], ordered[2 * (len(ordered) - 1) // 3]


def bucket_of(length_P: Tensor, edges: Edges) -> Tensor:
    """Number of each length's bucket in `BUCKETS`, int64 [P]."""
    return (length_P > edges[0]).long() + (length_P > edges[1]).long()


def confidence(margin_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How sure the scores are of their pick, how right it is (a tie by half), and its bin, [P]."""
    margin_P = margin_P.double()
    sure_P = margin_P.abs().sigmoid()
    right_P = (margin_P.sign() + 1) / 2
    bin_P = ((sure_P - 0.5) * 2 * BINS).long().clamp(0, BINS - 1)
    return sure_P, right_P, bin_P


def running_sums(
    score_R: Tensor, length_R: Tensor, margin_P: Tensor, longer_P: Tensor, edges: Edges
) -> dict[str, tuple[Tensor, Tensor]]:
    """Metrics as (sum, weight): accuracy by length, and the parts of `running_figures`.

    The parts have weight 0: a log of means leaves them out.

    Args:
        score_R: Scores.
        length_R: Tokens of each response.
        margin_P: Score of the chosen minus that of the rejected response.
        longer_P: Tokens of the longer response of each pair.
        edges: Of the buckets.
    """
    x_R, y_R = score_R.double(), length_R.double()
    sure_P, right_P, bin_P = confidence(margin_P)
    gap_B = sure_P.new_zeros(BINS).index_add(0, bin_P, right_P - sure_P)
    none = x_R.new_zeros(())
    parts = {
        "responses": none + len(x_R),
        "pairs": none + len(sure_P),
        "x": x_R.sum(),
        "y": y_R.sum(),
        "xx": x_R.square().sum(),
        "yy": y_R.square().sum(),
        "xy": (x_R * y_R).sum(),
        **{f"gap{b}": gap for b, gap in enumerate(gap_B)},
    }
    found = {f"_{name}": (total, none) for name, total in parts.items()}
    bucket_P, ahead_P = bucket_of(longer_P, edges), (margin_P > 0).double()
    for number, name in enumerate(BUCKETS):
        inside_P = (bucket_P == number).double()
        found[f"accuracy/{name}"] = ((ahead_P * inside_P).sum(), inside_P.sum())
    return found


def running_figures(totals: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """`ece`, `reward_std` and `length_correlation`, those that the sums define."""
    part = {name[1:]: total for name, (total, _) in totals.items() if name.startswith("_")}
    found: dict[str, float] = {}
    if pairs := part.get("pairs", 0.0):
        found["ece"] = sum(abs(part[f"gap{b}"]) for b in range(BINS)) / pairs
    if count := part.get("responses", 0.0):
        variance = _product(part, count, "x", "x")
        found["reward_std"] = math.sqrt(max(variance, 0.0))
        spread = variance * _product(part, count, "y", "y")
        if spread > 0:
            tie = _product(part, count, "x", "y") / math.sqrt(spread)
            found["length_correlation"] = min(1.0, max(-1.0, tie))
    return found


def _product(part: Mapping[str, float], count: float, one: str, other: str) -> float:
    """Mean product of the deviations from the means."""
    return part[one + other] / count - part[one] / count * part[other] / count
