"""Sources in stated shares: how often each row is seen in one pass over the mixture."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from accord.data.account import Account
from accord.data.rows import Row
from accord.errors import AccordError, did_you_mean

LEFT_OUT = "left out by the mixture's weights"


def mixed(
    rows: Sequence[Row],
    lengths: Sequence[int],
    weights: Mapping[str, float | None],
    seed: int,
    account: Account,
    total: int | None = None,
) -> list[int]:
    """Places in `rows`, so that the sources' shares of all tokens follow their weights.

    Without any weight each row is taken once. A source too small for its share is repeated whole
    and then in part, one too large is taken in part; both are counted in `account`.

    Args:
        rows: Rows of all sources.
        lengths: Tokens of each row.
        weights: By source name; where some have none, those count as 1.
        seed: Decides which rows are in the partial pass.
        account: Gets `seen again (mixture)` as a note, rows left out as dropped.
        total: Tokens in all; none: just enough that every row is seen.
    """
    if all(weight is None for weight in weights.values()):
        return list(range(len(rows)))
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row.source not in weights:
            hint = did_you_mean(row.source, weights)
            raise AccordError(f"No weight is known for '{row.source}'.", row.where, hint)
        places[row.source].append(place)
    sizes = {source: sum(lengths[place] for place in own) for source, own in places.items()}
    wanted = targets(sizes, {source: weights[source] or 1.0 for source in sizes}, total)
    taken: list[int] = []
    for source, own in places.items():
        drawn = _draw(own, lengths, wanted[source], random.Random(f"{seed}:{source}"))
        if repeats := len(drawn) - len(set(drawn)):
            account.noted(source, "seen again (mixture)", repeats)
        left_out = Counter(rows[place].language for place in set(own) - set(drawn))
        for language, count in left_out.items():
            account.withdraw(source, LEFT_OUT, count, language)
        taken += drawn
    return taken


def targets(
    sizes: Mapping[str, int], weights: Mapping[str, float], total: int | None
) -> dict[str, float]:
    """Tokens wanted of each source: its share of `total`, or of the least that shows every row."""
    share = {source: weights[source] / sum(weights.values()) for source in sizes}
    if total is None:
        return {
            source: share[source] * max(sizes[other] / share[other] for other in sizes)
            for source in sizes
        }
    return {source: share[source] * total for source in sizes}


def _draw(
    own: Sequence[int], lengths: Sequence[int], wanted: float, generator: random.Random
) -> list[int]:
    """Whole passes in order, then rows of a shuffled pass while they bring the sum nearer."""
    size = sum(lengths[place] for place in own)
    if size == 0:
        return list(own)
    # a hair's breadth, so that a share which is the whole source is not one pass less a rounding
    passes = int(wanted / size + 1e-9)
    drawn = list(own) * passes
    missing = wanted - passes * size
    partial: list[int] = []
    for place in generator.sample(own, len(own)):
        if lengths[place] / 2 > missing:
            break
        partial.append(place)
        missing -= lengths[place]
    return drawn + sorted(partial)
