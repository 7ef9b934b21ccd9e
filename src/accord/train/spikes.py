"""Steps far above the recent ones: skipped before they reach the weights (`skip_spikes`).

PaLM (Chowdhery et al. 2022, section 5.1) went back to a checkpoint about 100 steps before a spike
of the loss and left out the next 200 to 500 batches, by hand. Here the step itself is judged, by
its loss and its gradient's norm, before the optimiser sees it: one batch is left out, nothing is
taken back, and a resumed run judges alike, for the recent values are in the checkpoint. So it helps
against batches that are odd in themselves; it cannot undo what earlier steps led to. A rise that
lasts is no spike: after five steps in a row the recent values are forgotten, and training goes on.
"""

from collections.abc import Callable, Sequence
from statistics import median

from torch import Tensor

from accord.train.parallel import Ranks
from accord.train.resume import Cursor

RECENT = 128
"""How many of the latest steps taken a step is compared with."""
FEWEST = 16
"""How many there must be: before them nothing is a spike."""
IN_A_ROW = 5
"""Skipped steps in a row after which the recent values are forgotten."""
LEAST = 0.01
"""A deviation is at least this share of the median: a flat curve makes nothing of little a lot."""


def deviations(value: float, recent: Sequence[float]) -> float:
    """How far `value` lies above the median of `recent`, in robust standard deviations.

    1.4826 times the median absolute deviation estimates the standard deviation of normal values.
    Zero where there are too few to tell.
    """
    if len(recent) < FEWEST:
        return 0.0
    middle = median(recent)
    spread = 1.4826 * median(abs(each - middle) for each in recent)
    # the last one only where all values were exactly 0
    return (value - middle) / max(spread, LEAST * abs(middle), 1e-12)


def spiked(cursor: Cursor, loss: float, norm: float, limit: float | None) -> bool:
    """Whether a step is to be left out; one that is not is remembered.

    Args:
        cursor: Of the run; holds the recent values.
        loss: The step's, over all ranks.
        norm: Of its gradient before clipping, over all ranks.
        limit: `skip_spikes`; none: never.
    """
    if limit is None:
        return False
    pairs = ((loss, cursor.losses), (norm, cursor.norms))
    if any(deviations(value, recent) > limit for value, recent in pairs):
        return True
    for value, recent in pairs:
        recent.append(value)
        del recent[:-RECENT]
    cursor.spikes_in_a_row = 0
    return False


def leave_out(
    cursor: Cursor,
    loss: float,
    norm: float,
    seen: Sequence[tuple[Tensor, tuple[str, ...]]],
    ranks: Ranks,
    warn: Callable[[str], None],
) -> list[str]:
    """Count a spike, name its rows, and forget the recent values if it is no single one.

    Args:
        cursor: Of the run; the step is counted in it already.
        loss: The step's.
        norm: Its gradient's.
        seen: Each micro-batch's loss sum and the ids of its rows, on this rank.
        ranks: All of them skip together.
        warn: Told what happened.
    """
    everyone = ranks.gather([row for _, ids in seen for row in ids])
    rows = list(dict.fromkeys(row for part in everyone for row in part))
    above = deviations(loss, cursor.losses), deviations(norm, cursor.norms)
    warn(
        f"step {cursor.step}: loss {loss:.4g} and gradient norm {norm:.4g} are {above[0]:.1f} and "
        f"{above[1]:.1f} robust deviations above the recent ones; skipped, weights unchanged; "
        f"rows {', '.join(rows)}"
    )
    cursor.skipped += 1
    cursor.spikes_in_a_row += 1
    if cursor.spikes_in_a_row == IN_A_ROW:
        cursor.losses, cursor.norms, cursor.spikes_in_a_row = [], [], 0
        warn(f"{IN_A_ROW} steps in a row were skipped: a rise that lasts is no spike, so it stays")
    return rows
