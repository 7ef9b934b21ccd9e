"""What a run came to, and what its rows are counted in."""

from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["tokens", "pairs", "responses", "groups", "prompts"]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Args:
        steps: Optimiser steps of the whole run.
        num_tokens: Tokens read, over all ranks.
        skipped: Steps that were skipped: loss or gradient was not finite, or a spike.
        resumed_from: Step of the checkpoint it went on from, or none.
        seconds: Wall-clock time of this call.
        metrics: The last line of the run log.
    """

    steps: int
    num_tokens: int
    skipped: int
    resumed_from: int | None
    seconds: float
    metrics: dict[str, Any]
