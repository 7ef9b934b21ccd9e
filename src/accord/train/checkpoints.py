"""A run's checkpoints: what goes into one, and how a run goes on from one."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from accord.checkpoint.background import SAVERS
from accord.checkpoint.store import Store
from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.train.metrics import RunLog
from accord.train.microbatch import Collector
from accord.train.optim import Optimizer
from accord.train.parallel import Ranks
from accord.train.precision import Weights
from accord.train.resume import Cursor, load_state, pack_state, refuse_other_run, under


class Checkpoints:
    """Saves and restores all that a run's next step depends on.

    Args:
        folder: Of the store.
        config: How often and how many; in the background or not.
        identity: Of the run; a checkpoint of another is refused.
        weights: Masters.
        optimizer: Its state goes with them.
        collector: Where rows come from the policy itself, or none.
        log: Cut back to the checkpoint, and durable before one counts on it.
        ranks: All must call every method together.
        warn: Told of damaged checkpoints.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        identity: Mapping[str, Any],
        weights: Weights,
        optimizer: Optimizer,
        collector: Collector | None,
        log: RunLog,
        ranks: Ranks,
        warn: Callable[[str], None],
    ) -> None:
        self._store = Store(folder, config.keep_last, warn, config.keep_steps)
        self._saver = SAVERS[config.async_save](self._store)
        self._again, self._identity = config.resume, identity
        self._weights, self._optimizer, self._collector = weights, optimizer, collector
        self._log, self._ranks = log, ranks

    def restore(self) -> Cursor | None:
        """Load the newest good checkpoint, cut the log back to it, and return its place.

        Raises:
            AccordError: It is of another run; the disk has no room for the next ones.
        """
        if not self._again:
            self._ranks.on_first(self._store.clear)
        step = self._ranks.on_first(self._newest)
        cursor = None
        if step is not None:
            checkpoint = self._store.at(step)
            refuse_other_run(checkpoint.meta["run"], self._identity, checkpoint.folder)
            tensors = checkpoint.tensors()
            load_state(tensors, self._weights, self._optimizer)
            if self._collector is not None:
                self._collector.load(under("collector/", tensors))
            cursor = Cursor(**checkpoint.meta["cursor"])
        self._ranks.on_first(lambda: self._prepare_folder(step or 0))
        return cursor

    def _newest(self) -> int | None:
        self._store.clean()
        checkpoint = self._store.latest()
        return checkpoint.step if checkpoint else None

    def _prepare_folder(self, step: int) -> None:
        self._log.cut(step)
        # Weights, two moments, and the final weights beside them.
        size = 4 * sum(shape.numel() for shape in self._weights.shapes.values())
        self._store.check_space(4 * size)

    def save(self, cursor: Cursor) -> None:
        """Save the state after `cursor.step` steps.

        Raises:
            AccordError: A weight is not finite; the disk is full.
        """
        tensors = trained = pack_state(self._weights, self._optimizer)
        if self._collector is not None:
            held = self._collector.state()
            tensors = trained | {f"collector/{name}": tensor for name, tensor in held.items()}
        meta = {"cursor": asdict(cursor), "run": self._identity}

        def write() -> None:
            refuse_not_finite(trained, cursor.step)
            self._log.sync()
            self._saver.save(cursor.step, tensors, meta)

        self._ranks.on_first(write)

    def wait(self) -> None:
        """Return when every checkpoint is durable."""
        self._ranks.on_first(self._saver.wait)

    def join(self) -> None:
        """Return when nothing is being written any more on this rank, however it went."""
        self._saver.join()


def refuse_not_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise AccordError if a number in `tensors` is none.

    A step whose loss and gradient are finite can still overflow a weight or the optimiser's second
    moment; the steps after it are skipped, and this keeps it from being what is left of the run.
    """
    for name, tensor in tensors.items():
        if tensor.numel() and not all(bool(end.isfinite()) for end in tensor.aminmax()):
            raise AccordError(
                f"After step {step} the training state is not finite; nothing of it was saved",
                name,
                "lower lr or set max_grad_norm, and start afresh with resume=false",
            )
