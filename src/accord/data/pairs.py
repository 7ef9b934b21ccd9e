"""Pairs out of rated texts: the higher rating is chosen, lengths alike, nothing used too often."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from accord.config.data import RatedPairs
from accord.data.account import Account
from accord.data.rows import PairRow, TextRow
from accord.data.split import normalised
from accord.errors import AccordError, did_you_mean
from accord.text.messages import Message

UNPAIRED = "no partner within the rating gap and length ratio"


def rated_pairs(
    rows: Sequence[TextRow], config: RatedPairs, seed: int, account: Account | None = None
) -> list[PairRow]:
    """Pairs with an empty prompt; each text is chosen, and rejected, at most `pairs_per_row` times.

    The same rows, in any order, and seed give the same pairs. Texts that find no partner are
    withdrawn from `account`, and the pairs noted there.

    Raises:
        AccordError: A row has no number in the rating field, or no pair at all is possible.
    """
    rows = sorted(rows, key=lambda row: (len(row.text.split()), row.id, row.where))
    pool = _Pool(rows, config)
    generator = np.random.default_rng(seed)
    found = [
        (chosen, rejected)
        for chosen in generator.permutation(len(rows)).tolist()
        for rejected in pool.take(chosen, generator)
    ]
    if not found:
        raise AccordError(
            f"No two of {len(rows)} texts differ by {config.gap} in '{config.rating}' at a length "
            f"ratio of at most {config.length_ratio}.",
            rows[0].source if rows else "",
            "lower pairs.gap or raise pairs.length_ratio",
        )
    if account is not None:
        paired = {place for pair in found for place in pair}
        for place, row in enumerate(rows):
            if place not in paired:
                account.withdraw(row.source, UNPAIRED, language=row.language)
        for chosen, _ in found:
            account.noted(rows[chosen].source, "pairs made")
    return [_pair(rows[chosen], rows[rejected], config.rating) for chosen, rejected in found]


class _Pool:
    """Rated texts in ascending length, so that the possible partners of one are a window."""

    def __init__(self, rows: Sequence[TextRow], config: RatedPairs) -> None:
        self.config = config
        self.words = [len(row.text.split()) for row in rows]
        self.rating = np.array([rating_of(row, config.rating) for row in rows], dtype=np.float64)
        codes: dict[str, int] = {}
        same = [codes.setdefault(normalised(row.text), len(codes)) for row in rows]
        self.same = np.array(same, dtype=np.int64)
        self.uses = np.zeros(len(rows), dtype=np.int64)

    def take(self, chosen: int, generator: np.random.Generator) -> list[int]:
        """Up to `pairs_per_row` worse texts, the least used first; counts them as used."""
        low, high = self._window(self.words[chosen])
        fits = self.rating[low:high] <= self.rating[chosen] - self.config.gap
        fits &= self.uses[low:high] < self.config.pairs_per_row
        fits &= self.same[low:high] != self.same[chosen]
        places = low + np.flatnonzero(fits)
        order = np.lexsort((generator.random(len(places)), self.uses[places]))
        picked = places[order[: self.config.pairs_per_row]]
        self.uses[picked] += 1
        return picked.tolist()

    def _window(self, words: int) -> tuple[int, int]:
        """First and past-the-last place of texts whose length is within the ratio."""
        ratio = self.config.length_ratio
        if ratio is None:
            return 0, len(self.words)
        # the hair's breadth lets 5 words meet 4 at a ratio of 1.25 in spite of rounding
        return (
            bisect_left(self.words, words / ratio - 1e-9),
            bisect_right(self.words, words * ratio + 1e-9),
        )


def rating_of(row: TextRow, column: str) -> float:
    """The number in a row's rating column; tables hold it as text.

    Raises:
        AccordError: The column is absent or holds no finite number.
    """
    if column not in row.extra:
        hint = did_you_mean(column, [str(key) for key in row.extra])
        raise AccordError(f"The row has no rating '{column}'.", row.where, hint)
    value = row.extra[column]
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise AccordError(f"The rating '{column}' is {value!r}, not a number.", row.where)
    return number


def _pair(chosen: TextRow, rejected: TextRow, column: str) -> PairRow:
    return PairRow(
        prompt=(),
        chosen=(Message("text", chosen.text),),
        rejected=(Message("text", rejected.text),),
        where=f"{chosen.where} > {rejected.where}",
        source=chosen.source,
        group=chosen.group,
        language=chosen.language,
        extra={
            "chosen_rating": rating_of(chosen, column),
            "rejected_rating": rating_of(rejected, column),
        },
    )
