"""Steps whose loss or gradient is not finite: who is named, and when a run is given up."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.train.parallel import Ranks
from accord.train.resume import Cursor

SKIPS_ALLOWED = 5
"""Steps in a row whose loss may be non-finite before the run is given up."""


def skip(
    cursor: Cursor,
    seen: Sequence[tuple[Tensor, tuple[str, ...]]],
    ranks: Ranks,
    warn: Callable[[str], None],
) -> list[str]:
    """Count a skipped step and name its rows, those of bad micro-batches if known.

    Args:
        cursor: Of the run; the step is counted in it already.
        seen: Each micro-batch's loss sum and the ids of its rows, on this rank.
        ranks: All of them skip together.
        warn: Told what happened.

    Raises:
        AccordError: Five steps in a row were skipped.
    """
    cursor.skipped += 1
    cursor.skipped_in_a_row += 1
    bad = [ids for total, ids in seen if not bool(torch.isfinite(total))]
    everyone = ranks.gather((bad, [ids for _, ids in seen]))
    named = [ids for part, _ in everyone for ids in part]
    named = named or [ids for _, part in everyone for ids in part]
    # a rank that has run out of rows goes through one again
    rows = list(dict.fromkeys(row for ids in named for row in ids))
    warn(
        f"step {cursor.step}: loss or gradient is not finite; skipped, weights unchanged; "
        f"rows {', '.join(rows) or '(unnamed)'}"
    )
    if cursor.skipped_in_a_row >= SKIPS_ALLOWED:
        raise AccordError(
            f"{SKIPS_ALLOWED} steps in a row had a loss or gradient that is not finite",
            f"step {cursor.step}, rows {', '.join(rows)}",
            "lower the learning rate or look at those rows; nothing of this was saved",
        )
    return rows or ["(unnamed)"]
