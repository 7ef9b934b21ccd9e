"""Intervals for means over prompts.

Values stand as [prompts, samples]. The unit that is resampled is the *prompt with all its samples*:
samples of one prompt are alike, so treating them as independent would give intervals that are too
narrow. Of the two hierarchical schemes this one matches the variance of the mean; redrawing the
samples inside a redrawn prompt as well counts the variance within prompts twice
(Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK = 1 << 22
"""Resampled indices held at once."""


@dataclass(frozen=True)
class Interval:
    """A mean over prompts and its 95 % interval.

    Args:
        mean: The mean over prompts of the mean over a prompt's samples.
        low: 2.5 % point of the bootstrap distribution of the mean.
        high: 97.5 % point.
        n: Prompts.
    """

    mean: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, object]:
        """`{mean, ci95: [low, high], n}`."""
        return {"mean": self.mean, "ci95": [self.low, self.high], "n": self.n}

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def by_prompt(values: Sequence[Sequence[float]] | Floats) -> Floats:
    """One number a prompt: the mean over its samples, which may be unequally many.

    Raises:
        ValueError: If there is no prompt, or a prompt without samples.
    """
    if not len(values) or not all(len(samples) for samples in values):
        raise ValueError("an interval needs at least one prompt and a sample for each")
    means = [float(np.mean(np.asarray(samples, dtype=np.float64))) for samples in values]
    return np.array(means, dtype=np.float64)


def bootstrap(values: Sequence[Sequence[float]] | Floats, resamples: int, seed: int) -> Interval:
    """Percentile bootstrap of the mean, prompts resampled with all their samples.

    Args:
        values: [prompts, samples].
        resamples: Bootstrap replications.
        seed: Of the generator; same seed, same interval.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    means_P = by_prompt(values)
    n = len(means_P)
    rng = np.random.default_rng(seed)
    replicates: list[Floats] = []
    rows = max(1, CHUNK // n)
    for start in range(0, resamples, rows):
        picked = rng.integers(0, n, size=(min(rows, resamples - start), n))
        replicates.append(means_P[picked].mean(axis=1))
    low, high = np.quantile(np.concatenate(replicates), [0.025, 0.975])
    return Interval(float(means_P.mean()), float(low), float(high), n)


def paired_difference(
    policy: Sequence[Sequence[float]] | Floats,
    reference: Sequence[Sequence[float]] | Floats,
    resamples: int,
    seed: int,
) -> Interval:
    """Mean of policy − reference on the same prompts, and its interval.

    Pairing takes out what prompts have in common, so the interval is narrower than that of two
    independent means.

    Args:
        policy: [prompts, samples].
        reference: [prompts, samples]; the same prompts in the same order.
        resamples: Bootstrap replications.
        seed: Of the generator.

    Raises:
        ValueError: If the numbers of prompts differ.
    """
    difference_P = by_prompt(policy), by_prompt(reference)
    if len(difference_P[0]) != len(difference_P[1]):
        raise ValueError("a paired difference needs the same prompts on both sides")
    return bootstrap((difference_P[0] - difference_P[1])[:, None], resamples, seed)


def win_rate(policy: Floats, reference: Floats, resamples: int, seed: int) -> Interval:
    """Share of samples in which the policy scores higher than the reference; ties count half.

    Args:
        policy: [prompts, samples], sample k drawn with the seed of the reference's sample k.
        reference: [prompts, samples].
        resamples: Bootstrap replications.
        seed: Of the generator.
    """
    return bootstrap(0.5 * (np.sign(policy - reference) + 1.0), resamples, seed)


def histogram(values: Sequence[Floats], bins: int = 24) -> tuple[list[float], list[list[int]]]:
    """Counts of several samples in the same bins; whole numbers get bins of a whole width.

    Returns:
        The edges, at most bins + 1 of them, and the counts for each sample.
    """
    pooled = np.concatenate([np.ravel(v) for v in values])
    if np.array_equal(pooled, np.round(pooled)):
        width = -(-int(np.ptp(pooled) + 1) // bins)
        edges = np.arange(pooled.min() - 0.5, pooled.max() + width, width)
    else:
        edges = np.histogram_bin_edges(pooled, bins=bins)
    counts = [np.histogram(np.ravel(v), bins=edges)[0].tolist() for v in values]
    return edges.tolist(), counts
