"""The only training loop: optimisers, schedules, precision, ranks, metrics log."""

from accord.train.interrupt import Interrupted
from accord.train.loop import Source, Step, Trainer
from accord.train.parallel import current_ranks, launch
from accord.train.result import TrainResult

__all__ = ["Interrupted", "Source", "Step", "TrainResult", "Trainer", "current_ranks", "launch"]
