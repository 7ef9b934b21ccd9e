"""Numbers over rows with their 95 % intervals; whole prompts are resampled.

A statistic is a function of means over rows (a share, a correlation, a calibration error), so that
a replicate needs only the sums over each prompt. Axes: P rows, U prompts, C columns, B replicates.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000
SEED = 0
TAIL = 0.025
"""What an interval leaves out at either end."""

Statistic = Callable[[Floats], Floats]
"""Means of the columns [B, C] to a number each [B]; NaN where it is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A number, its percentile interval and what it rests on.

    Args:
        value: Over all rows; none where it is not defined.
        low: 2.5 % point of the bootstrap distribution.
        high: 97.5 % point.
        rows: Rows.
        prompts: Units that were resampled.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int
    prompts: int

    def to_json(self) -> dict[str, Any]:
        """`{value, ci95: [low, high] or null, rows, prompts}`."""
        interval = None if self.low is None else [self.low, self.high]
        return {"value": self.value, "ci95": interval, "rows": self.rows, "prompts": self.prompts}


def estimate(column_PC: Floats, unit_P: Sequence[Hashable], statistic: Statistic) -> Estimate:
    """A statistic of the columns' means, and its interval with whole units resampled.

    Replicates in which it is not defined are left out of the interval.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    codes: dict[Hashable, int] = {}
    unit = np.array([codes.setdefault(name, len(codes)) for name in unit_P], dtype=np.int64)
    if not len(unit):
        return Estimate(None, None, None, 0, 0)
    sum_UC = np.zeros((len(codes), column_PC.shape[1]))
    np.add.at(sum_UC, unit, column_PC)
    rows_U = np.bincount(unit)
    drawn_BU = np.random.default_rng(SEED).multinomial(
        len(codes), np.full(len(codes), 1 / len(codes)), size=RESAMPLES
    )
    found_B = statistic((drawn_BU @ sum_UC) / (drawn_BU @ rows_U)[:, None])
    value = float(statistic(column_PC.mean(axis=0)[None])[0])
    found_B = found_B[np.isfinite(found_B)]
    if not np.isfinite(value) or not len(found_B):
        return Estimate(None, None, None, len(unit), len(codes))
    low, high = np.quantile(found_B, [TAIL, 1 - TAIL])
    return Estimate(value, float(low), float(high), len(unit), len(codes))


def share(value_P: Sequence[float] | NDArray[Any], unit_P: Sequence[Hashable]) -> Estimate:
    """The mean over rows, and its interval.

    Where all rows are 0, or all 1, resampling would make it a point: the far end is then that of
    Clopper and Pearson for as many units, 1 - 0.025^(1/U) from it.
    """
    column_P1 = np.asarray(value_P, dtype=np.float64).reshape(-1, 1)
    found = estimate(column_P1, unit_P, lambda mean_BC: mean_BC[:, 0])
    if len(column_P1) and (column_P1 == 1).all():
        return replace(found, low=TAIL ** (1 / found.prompts))
    if len(column_P1) and (column_P1 == 0).all():
        return replace(found, high=1 - TAIL ** (1 / found.prompts))
    return found


def correlation(x_P: Floats, y_P: Floats, unit_P: Sequence[Hashable]) -> Estimate:
    """Pearson's correlation; none where one of the two does not vary."""
    x_P, y_P = _scaled(x_P), _scaled(y_P)
    columns = np.stack([x_P, y_P, x_P * x_P, y_P * y_P, x_P * y_P], axis=1)
    return estimate(columns, unit_P, _pearson)


def partial_correlation(
    x_P: Floats, y_P: Floats, given_P: Floats, unit_P: Sequence[Hashable]
) -> Estimate:
    """Correlation of what a third number does not explain, linearly, of either.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz²)(1 - r_yz²)).
    """
    values = [_scaled(x_P), _scaled(y_P), _scaled(given_P)]
    products = [values[i] * values[j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    return estimate(np.stack([*values, *products], axis=1), unit_P, _partial)


def part_correlation(ahead_P: Floats, y_P: Floats, unit_P: Sequence[Hashable]) -> Estimate:
    """Correlation of y about its mean with a difference whose mean is not y's doing.

    cov(d, y) / sqrt(E[d²] var y): the part of the size of d that goes with y alone. Unlike the
    correlation about both means it is small where d hardly varies.
    """
    size = float(np.sqrt(np.mean(np.square(ahead_P)))) if len(ahead_P) else 0.0
    d_P, y_P = ahead_P / (size or 1.0), _scaled(y_P)
    columns = np.stack([d_P, y_P, d_P * d_P, y_P * y_P, d_P * y_P], axis=1)
    return estimate(columns, unit_P, _part)


def _scaled(x_P: Floats) -> Floats:
    """Mean 0 and deviation 1, for the sake of rounding; zeros where nothing varies."""
    x_P = np.asarray(x_P, dtype=np.float64)
    if not len(x_P) or np.ptp(x_P) == 0:
        return np.zeros(len(x_P))
    return (x_P - x_P.mean()) / x_P.std()


def _pearson(mean_BC: Floats) -> Floats:
    x, y, xx, yy, xy = mean_BC.T
    return _ratio(xy - x * y, (xx - x * x) * (yy - y * y))


def _part(mean_BC: Floats) -> Floats:
    d, y, dd, yy, dy = mean_BC.T
    return _ratio(dy - d * y, dd * (yy - y * y))


def _partial(mean_BC: Floats) -> Floats:
    x, y, z, xx, yy, zz, xy, xz, yz = mean_BC.T
    tie_xy = _ratio(xy - x * y, (xx - x * x) * (yy - y * y))
    tie_xz = _ratio(xz - x * z, (xx - x * x) * (zz - z * z))
    tie_yz = _ratio(yz - y * z, (yy - y * y) * (zz - z * z))
    return _ratio(tie_xy - tie_xz * tie_yz, (1 - tie_xz**2) * (1 - tie_yz**2))


def _ratio(product: Floats, variances: Floats) -> Floats:
    """product / sqrt(variances), within ±1; NaN where a variance vanishes."""
    sound = variances > 1e-12
    root = np.sqrt(np.where(sound, variances, 1.0))
    return np.where(sound, np.clip(product / root, -1, 1), np.nan)
