"""How well scores put held-out pairs in order: accuracy, calibration, length, distribution.

Axes: P pairs, R responses (each once, however many pairs it is in), B bins.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from accord.evaluation.running import BINS, BUCKETS, bucket_of, confidence, length_edges
from accord.evaluation.statistics import CHUNK, histogram
from accord.objectives.reward import correlation, expected_calibration_error

Floats = NDArray[np.float64]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Ranked:
    """Held-out pairs and how two scorers' answers to them are resampled.

    Args:
        chosen_P: Score of the preferred response.
        rejected_P: Score of the other.
        longer_P: Tokens of the longer response.
        unit_P: What is resampled as one: a prompt, or a text that stands in several pairs.
        resamples: Bootstrap replications.
        seed: Of the bootstrap.
    """

    chosen_P: Floats
    rejected_P: Floats
    longer_P: NDArray[np.int64]
    unit_P: Sequence[Hashable]
    resamples: int = 2000
    seed: int = 0

    @property
    def right_P(self) -> Floats:
        """1 where the chosen response has the higher score; a tie is wrong."""
        return (self.chosen_P > self.rejected_P).astype(np.float64)


def pair_figures(ranked: Ranked) -> dict[str, Any]:
    """Accuracy with its interval, overall and by length, mean margin and calibration.

    Keys: `pairs`, `accuracy`, `ci95`, `margin` (mean difference of scores), `by_length` (buckets
    of about a third of the pairs, by the tokens of the longer response: `bucket`, `tokens`,
    `pairs`, `accuracy`, `ci95`), `ece`, `calibration` (for each bin of confidence that holds
    pairs: `confidence`, `accuracy`, `pairs`).
    """
    margin_P = torch.from_numpy(ranked.chosen_P - ranked.rejected_P)
    everything = np.ones(len(margin_P), dtype=np.bool_)
    return {
        **_share(ranked, ranked.right_P, everything),
        "margin": float(margin_P.mean()),
        "by_length": _by_length(ranked),
        "ece": expected_calibration_error(margin_P, BINS),
        "calibration": _bins(margin_P),
    }


def beside(ranked: Ranked, other: Ranked) -> dict[str, Any]:
    """Accuracy of another scorer on the same pairs, and ours minus its with a paired interval.

    Keys: `accuracy`, `ci95`, `margin_over` (ours minus its), `margin_over_ci95`.
    """
    everything = np.ones(len(other.right_P), dtype=np.bool_)
    theirs = _share(other, other.right_P, everything)
    ahead = _share(ranked, ranked.right_P - other.right_P, everything)
    return {
        "accuracy": theirs["accuracy"],
        "ci95": theirs["ci95"],
        "margin_over": ahead["accuracy"],
        "margin_over_ci95": ahead["ci95"],
    }


def score_figures(score_R: Floats, length_R: Floats) -> dict[str, Any]:
    """How scores are distributed and whether they go with length.

    Keys: `length_correlation` (Pearson, with the response's tokens; null where one of the two does
    not vary), `rewards` (`responses`, `mean`, `std`, `quantiles`, `histogram`).
    """
    edges, counts = histogram([score_R])
    quantiles = np.quantile(score_R, QUANTILES)
    return {
        "length_correlation": agreement(score_R, length_R),
        "rewards": {
            "responses": len(score_R),
            "mean": float(score_R.mean()),
            "std": float(score_R.std()),
            "quantiles": {
                f"{share:.0%}": float(value)
                for share, value in zip(QUANTILES, quantiles, strict=True)
            },
            "histogram": {"edges": edges, "counts": counts[0]},
        },
    }


def agreement(x_R: Floats, y_R: Floats) -> float | None:
    """Pearson's correlation; none where one of the two does not vary."""
    found = correlation(torch.from_numpy(x_R), torch.from_numpy(y_R))
    return None if math.isnan(found) else found


def _share(ranked: Ranked, value_P: Floats, inside_P: NDArray[np.bool_]) -> dict[str, Any]:
    """Mean over pairs, and its percentile interval with whole units resampled.

    Pairs of one unit are alike: resampled one by one, they would make the interval too narrow.
    """
    codes: dict[Hashable, int] = {}
    unit_P = np.array([codes.setdefault(unit, len(codes)) for unit in ranked.unit_P])[inside_P]
    sums_U = np.bincount(unit_P, value_P[inside_P], minlength=len(codes))
    counts_U = np.bincount(unit_P, minlength=len(codes))
    sums_U, counts_U = sums_U[counts_U > 0], counts_U[counts_U > 0]
    generator = np.random.default_rng(ranked.seed)
    replicates: list[Floats] = []
    rows = max(1, CHUNK // len(sums_U))
    for start in range(0, ranked.resamples, rows):
        shape = (min(rows, ranked.resamples - start), len(sums_U))
        picked = generator.integers(0, len(sums_U), size=shape)
        replicates.append(sums_U[picked].sum(axis=1) / counts_U[picked].sum(axis=1))
    low, high = np.quantile(np.concatenate(replicates), [0.025, 0.975])
    return {
        "pairs": int(counts_U.sum()),
        "accuracy": float(sums_U.sum() / counts_U.sum()),
        "ci95": [float(low), float(high)],
    }


def _by_length(ranked: Ranked) -> list[dict[str, Any]]:
    longer_P = ranked.longer_P
    edges = length_edges(longer_P.tolist())
    bucket_P = bucket_of(torch.from_numpy(longer_P), edges).numpy()
    found: list[dict[str, Any]] = []
    for number, name in enumerate(BUCKETS):
        inside_P = bucket_P == number
        if inside_P.any():
            tokens = [int(longer_P[inside_P].min()), int(longer_P[inside_P].max())]
            share = _share(ranked, ranked.right_P, inside_P)
            found.append({"bucket": name, "tokens": tokens, **share})
    return found


def _bins(margin_P: torch.Tensor) -> list[dict[str, Any]]:
    sure_P, right_P, bin_P = confidence(margin_P)
    found: list[dict[str, Any]] = []
    for number in range(BINS):
        inside_P = bin_P == number
        if inside_P.any():
            found.append(
                {
                    "confidence": float(sure_P[inside_P].mean()),
                    "accuracy": float(right_P[inside_P].mean()),
                    "pairs": int(inside_P.sum()),
                }
            )
    return found
