"""What a finished step calls for: a checkpoint, an evaluation, a line of the log."""

import math
from dataclasses import dataclass

from accord.config.train import TrainConfig


@dataclass(frozen=True)
class Due:
    """What a step's number alone calls for.

    Args:
        saves: A checkpoint.
        evaluates: The held-out rows, where there are any.
        logs: A line of the log; a step that is evaluated is logged too.
    """

    saves: bool
    evaluates: bool
    logs: bool


def due(step: int, total: int, config: TrainConfig) -> Due:
    """What is due after `step` (from 1) of a run of `total` steps."""
    last = step == total
    often = config.save_every or max(1, math.ceil(total / 10))
    saves = last or step in config.keep_steps or step % often == 0
    evaluates = last or (config.eval_every is not None and step % config.eval_every == 0)
    # The first step is logged: policy and reference are still one there, which nothing later can
    # tell. And a checkpoint's: the averages of a resumed run begin where they began.
    logs = saves or step == 1 or step % config.log_every == 0
    return Due(saves, evaluates, logs)
