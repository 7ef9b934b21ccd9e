"""The order in which rows are seen: a pure function of seed and step."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from accord.errors import AccordError


@dataclass(frozen=True)
class Order:
    """Batches over shuffled epochs laid end to end.

    Every epoch is a permutation of its own; a batch at an epoch's edge takes the rest of one and
    the start of the next, so that all batches have the same size and no row is left out.

    Args:
        rows: Number of rows.
        batch_size: Rows a step.
        seed: Seed of the permutations.

    Raises:
        AccordError: There is no row.
    """

    rows: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise AccordError(
                "There is no row to train on.",
                fix="See the row account (accord/rows.json): every row was dropped or held out.",
            )

    def indices(self, step: int) -> list[int]:
        """Row numbers of optimiser step `step` (from 0)."""
        start = step * self.batch_size
        return [self._at(position) for position in range(start, start + self.batch_size)]

    def steps(self, epochs: float) -> int:
        """Steps that see every row `epochs` times, the last one filled from the next epoch."""
        return max(1, math.ceil(self.rows * epochs / self.batch_size))

    def epoch(self, step: int) -> float:
        """Epochs seen after `step` steps."""
        return step * self.batch_size / self.rows

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self.rows)
        return int(_permutation(self.rows, self.seed, epoch)[offset])


@lru_cache(maxsize=4)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)
