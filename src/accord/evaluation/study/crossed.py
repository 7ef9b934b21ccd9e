"""Intervals for means over seeds and prompts, both resampled.

Axes: S training seeds, P prompts, B bootstrap replications.

Every prompt is answered under every seed, so the two are crossed, not nested: each is redrawn by
itself, and a replicate is the mean over the drawn rows and columns (Owen, The pigeonhole
bootstrap, 2007). So far, where seeds dominate, the interval never leaves the range of what the S
runs gave: it holds the median of runs in at most 1 − 2^(1−S) of studies, 75 % for three. So each
replicate's departure from equally weighted seeds is stretched by √(S / χ²), χ² with S − 1 degrees
of freedom: about the spread of Student's t, whose tails are what not knowing the variance between
seeds costs. It tends to 1 as seeds grow. One seed leaves the bootstrap over prompts.
"""

from dataclasses import dataclass

import numpy as np

from accord.evaluation.statistics import CHUNK, Floats, Interval

RESAMPLES = 10_000
"""Replications of one comparison; the smallest p-value is a ten-thousandth."""


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and prompts, its 95 % interval and its p-value.

    Args:
        interval: Mean and interval; its `n` counts prompts.
        p: Two-sided, of the mean being 0: (1 + twice the replicates in the smaller tail) /
            (1 + replicates), so below .05 where the interval excludes 0; but never below
            2^(1 − prompts), the least that flipping the signs of so few prompts can give.
        seeds: Training seeds.
    """

    interval: Interval
    p: float
    seeds: int

    def to_json(self) -> dict[str, object]:
        """`{mean, ci95, n, seeds, p}`."""
        return {**self.interval.to_json(), "seeds": self.seeds, "p": self.p}


def crossed(values_SP: Floats, resamples: int, seed: int) -> Crossed:
    """Mean, interval and p-value of values that are crossed by seed and prompt.

    Args:
        values_SP: [seeds, prompts]; for a comparison its paired differences.
        resamples: Bootstrap replications.
        seed: Of the generators; same seed, same bytes.

    Raises:
        ValueError: If there is no seed or no prompt.
    """
    if values_SP.ndim != 2 or not values_SP.size:
        raise ValueError("a crossed interval needs [seeds, prompts] with one of each at least")
    replicates_B = _replicates(values_SP, resamples, seed)
    low, high = np.quantile(replicates_B, [0.025, 0.975])
    seeds, prompts = values_SP.shape
    mean = float(values_SP.mean(axis=1).mean())
    interval = Interval(mean, float(low), float(high), prompts)
    return Crossed(interval, max(p_value(replicates_B), 2.0 ** (1 - prompts)), seeds)


def p_value(replicates_B: Floats) -> float:
    """Two-sided p-value of 0, read from the tails of the replicates.

    Source: Davison & Hinkley, Bootstrap Methods and their Application, 1997, equation 4.11.
    """
    tail = int(min(np.count_nonzero(replicates_B <= 0), np.count_nonzero(replicates_B >= 0)))
    return min(1.0, (1 + 2 * tail) / (1 + len(replicates_B)))


def _replicates(values_SP: Floats, resamples: int, seed: int) -> Floats:
    seeds, prompts = values_SP.shape
    over_prompts = np.random.default_rng(seed)  # drawn as `statistics.bootstrap` draws
    departure_BS = _departures(seeds, resamples, np.random.default_rng([seed, 1]))
    rows = max(1, CHUNK // (seeds * prompts))
    parts: list[Floats] = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        picked = over_prompts.integers(0, prompts, size=(count, prompts))
        means_BS = np.stack([row_P[picked].mean(axis=1) for row_P in values_SP], axis=1)
        shift_B = (departure_BS[start : start + count] * means_BS).sum(axis=1)
        parts.append(means_BS.mean(axis=1) + shift_B)
    return np.concatenate(parts)


def _departures(seeds: int, count: int, rng: np.random.Generator) -> Floats:
    """By how much each seed's weight in a replicate departs from 1/S; rows sum to 0."""
    if seeds == 1:
        return np.zeros((count, 1))
    drawn_BS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
    stretch_B = np.sqrt(seeds / rng.chisquare(seeds - 1, size=count))
    return stretch_B[:, None] * (drawn_BS - 1) / seeds


def reach(seeds: int, prompts: int) -> str:
    """What an interval from so many seeds and prompts can and cannot cover."""
    if seeds == 1:
        text = (
            "1 seed: intervals cover other prompts, not another training run; how much a claim "
            "owes to the luck of this run is unknown."
        )
    else:
        text = (
            f"{seeds} seeds: intervals cover other prompts and other seeds; the spread between "
            f"runs is known from {seeds} of them only, so they are widened as Student's t with "
            f"{seeds - 1} {_degrees(seeds - 1)} of freedom, which takes runs to scatter about "
            "normally: a rare run that fails altogether is not covered."
        )
    if prompts < FEW_PROMPTS:
        text += (
            f" {prompts} prompts are few: the intervals' share that is due to prompts is too "
            "narrow (from one seed and 16 prompts they hold the truth in 91 % of studies)."
        )
    return text


FEW_PROMPTS = 30
"""Below this the percentile interval over prompts misses its 95 % noticeably."""


def _degrees(count: int) -> str:
    return "degree" if count == 1 else "degrees"
