"""The rows of an optimiser step, split over ranks and micro-batches."""

from collections.abc import Sequence
from typing import Any

from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.train.parallel import Ranks

Parts = list[tuple[Sequence[Any], bool]]
"""A rank's micro-batches, each with whether it counts."""


def micro_batch_size(config: TrainConfig, ranks: Ranks) -> int:
    """Rows of one forward pass on one rank.

    Raises:
        AccordError: batch_size is not a multiple of the ranks.
    """
    check_ranks(config.batch_size, ranks.world)
    return config.micro_batch_size or config.batch_size // ranks.world


def check_ranks(batch_size: int, world: int) -> None:
    """Refuse a batch that ranks cannot share equally.

    Raises:
        AccordError: batch_size is not a multiple of the ranks.
    """
    if batch_size % world:
        raise AccordError(
            f"batch_size {batch_size} is not a multiple of the {world} ranks",
            "batch_size",
            f"take {world * max(1, round(batch_size / world))}, or another number of ranks",
        )


def by_count(rows: Sequence[Any], ranks: Ranks, size: int) -> Parts:
    """This rank's micro-batches of at most `size` rows.

    Every rank has equally many, for they compute together: one that has run out of rows goes
    through the first row again, and that does not count.
    """
    share = -(-len(rows) // ranks.world)
    mine = rows[ranks.rank :: ranks.world]
    parts = [mine[i : i + size] for i in range(0, share, size)]
    return [(part, True) if len(part) else (rows[:1], False) for part in parts]


def by_tokens(rows: Sequence[Any], tokens: Sequence[int], ranks: Ranks, budget: int) -> Parts:
    """This rank's micro-batches of at most `budget` tokens, rows of like length together.

    The longest rows come first, so that a run that does not fit into memory fails at once. A row
    longer than the budget is a micro-batch of its own. Ranks have equally many, as in `by_count`.

    Args:
        rows: Of the step, over all ranks.
        tokens: Of each row.
        ranks: Who shares the rows.
        budget: Tokens of a forward pass on one rank.
    """
    order = sorted(range(len(rows)), key=lambda row: (-tokens[row], row))
    shares = [_filled(order[r :: ranks.world], tokens, budget) for r in range(ranks.world)]
    mine = shares[ranks.rank]
    parts: Parts = [([rows[i] for i in part], True) for part in mine]
    idle = max(map(len, shares)) - len(mine)
    return parts + [([rows[order[-1]]], False)] * idle


def _filled(places: Sequence[int], tokens: Sequence[int], budget: int) -> list[list[int]]:
    parts: list[list[int]] = []
    room = 0
    for place in places:
        if not parts or tokens[place] > room:
            parts.append([])
            room = budget
        parts[-1].append(place)
        room -= tokens[place]
    return parts
