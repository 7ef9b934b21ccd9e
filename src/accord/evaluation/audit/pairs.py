"""Held-out pairs as an audit has them: their rows, scores, lengths and what is resampled as one."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from accord.data.rows import PairRow
from accord.evaluation.audit.item import Floats, Item, Scores, sides
from accord.evaluation.ranking import Ranked


@dataclass(frozen=True)
class Audited:
    """Pairs that the model can read, and its scores of them.

    Args:
        rows: The pairs.
        sides: The chosen and the rejected answer of each.
        score_P2: Their scores, chosen first.
        size_P2: Their tokens, as far as they are read.
    """

    rows: Sequence[PairRow]
    sides: Sequence[tuple[Item, Item]]
    score_P2: Floats
    size_P2: Floats

    @classmethod
    def of(cls, rows: Sequence[PairRow], scores: Scores) -> "Audited":
        """Score the pairs of which both answers leave something to be read."""
        kept = [(row, both) for row in rows if all(map(scores.judge.size, both := sides(row)))]
        items = [item for _, both in kept for item in both]
        sizes = [float(scores.judge.size(item)) for item in items]
        return cls(
            [row for row, _ in kept],
            [both for _, both in kept],
            scores(items).reshape(-1, 2),
            np.array(sizes, dtype=np.float64).reshape(-1, 2),
        )

    @property
    def unit_P(self) -> list[Hashable]:
        """What is resampled as one: a prompt or, where there is none, a chosen text."""
        return [row.prompt or row.chosen for row in self.rows]

    @property
    def margin_P(self) -> Floats:
        """Score of the chosen minus that of the rejected answer."""
        return self.score_P2[:, 0] - self.score_P2[:, 1]

    @property
    def right_P(self) -> Floats:
        """1 where the chosen answer has the higher score; a tie is wrong."""
        return (self.margin_P > 0).astype(np.float64)

    @property
    def spread(self) -> float:
        """Standard deviation of the scores, the unit of changes."""
        return float(self.score_P2.std()) if len(self.rows) else 0.0

    @property
    def ranked(self) -> Ranked:
        """The same, as `evaluation.ranking` takes it."""
        return self.with_scores(self.score_P2)

    def with_scores(self, score_P2: Floats) -> Ranked:
        """The pairs with another scorer's numbers."""
        longer_P = self.size_P2.max(axis=1).astype(np.int64)
        return Ranked(score_P2[:, 0], score_P2[:, 1], longer_P, self.unit_P)

    def once(self) -> list[tuple[Item, Hashable]]:
        """Every answer once, however many pairs it is in, and its unit."""
        found: dict[Item, Hashable] = {}
        for both, unit in zip(self.sides, self.unit_P, strict=True):
            for item in both:
                found.setdefault(item, unit)
        return list(found.items())
