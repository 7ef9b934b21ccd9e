"""Whether a noisy curve rose or fell: its parts compared, measured in their own error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

PARTS = 5
FEWEST = 10
"""Points below which no trend is claimed."""
ERRORS = 3.0
"""Standard errors by which two parts must differ to be told apart."""


@dataclass(frozen=True)
class Trend:
    """A curve in consecutive parts of equal size.

    Args:
        means: Mean of each part.
        steps: Middle step of each part.
        error: Standard error of the difference of two means.
    """

    means: tuple[float, ...]
    steps: tuple[int, ...]
    error: float

    def rose(self, start: int = 0, end: int = -1) -> bool:
        """Whether the mean of part `end` lies above that of part `start` beyond chance."""
        return self.means[end] - self.means[start] > ERRORS * self.error

    def fell(self, start: int = 0, end: int = -1) -> bool:
        """Whether the mean of part `end` lies below that of part `start` beyond chance."""
        return self.means[start] - self.means[end] > ERRORS * self.error

    @property
    def best(self) -> int:
        """The part with the highest mean."""
        return self.means.index(max(self.means))


def trend(points: Sequence[Sequence[float]]) -> Trend | None:
    """The trend of [step, value] points; none where there are too few.

    The noise is taken from the differences of neighbours, which a slow trend hardly touches
    (von Neumann, 1941).
    """
    if len(points) < FEWEST:
        return None
    cuts = [len(points) * i // PARTS for i in range(PARTS + 1)]
    parts = [points[a:b] for a, b in pairwise(cuts)]
    values = [value for _, value in points]
    variance = sum((b - a) * (b - a) for a, b in pairwise(values)) / (2 * (len(values) - 1))
    return Trend(
        tuple(sum(value for _, value in part) / len(part) for part in parts),
        tuple(int(part[len(part) // 2][0]) for part in parts),
        math.sqrt(variance * 2 * PARTS / len(points)),
    )


def correlation(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float | None:
    """Pearson's correlation of two curves over the steps they share; none where one is flat."""
    other = {step: value for step, value in b}
    pairs = [(value, other[step]) for step, value in a if step in other]
    if len(pairs) < FEWEST:
        return None
    mean_a = sum(x for x, _ in pairs) / len(pairs)
    mean_b = sum(y for _, y in pairs) / len(pairs)
    spread = math.sqrt(
        sum((x - mean_a) * (x - mean_a) for x, _ in pairs)
        * sum((y - mean_b) * (y - mean_b) for _, y in pairs)
    )
    product = sum((x - mean_a) * (y - mean_b) for x, y in pairs)
    return product / spread if spread else None
