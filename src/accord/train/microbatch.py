"""One optimiser step's rows, split over ranks and micro-batches, and the step run on each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.objectives.loss import Loss
from accord.train.metrics import Sums
from accord.train.parallel import Ranks

Step = Callable[[nn.Module, Any], Loss]
"""`step(model, batch)`: the objective's sum over the batch, its weight and its metrics."""


class Batch(Protocol):
    """What the loop asks of a batch; the rest is between a source and its step."""

    @property
    def ids_N(self) -> Tensor:
        """The tokens it reads."""
        ...

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Stable ids of its rows."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        ...


class Source(Protocol):
    """Where batches come from: a pure function of seed and step."""

    @property
    def steps(self) -> int:
        """How many there are."""
        ...

    def rows(self, step: int) -> Sequence[Any]:
        """The rows of optimiser step `step`, over all ranks."""
        ...

    def collate(self, rows: Sequence[Any]) -> Batch:
        """A micro-batch of some of those rows."""
        ...


@runtime_checkable
class Measured(Source, Protocol):
    """A held-out source with figures that are no means, such as a calibration error."""

    def figures(self, totals: Mapping[str, tuple[float, float]]) -> Mapping[str, float]:
        """Further figures from the (sum, weight) of all metrics over the whole source."""
        ...


@runtime_checkable
class Collector(Source, Protocol):
    """A source whose rows come from the trained policy itself; alike on all ranks.

    The trainer calls `fill` before each step and `observe` after it; what the rows of later steps
    depend on, beside the weights, is in `state`, so that a run resumes within a roll-out.
    """

    def fill(
        self, step: int, weights: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, tuple[float, float]]:
        """Make the rows of `step` ready; returns figures for the log as (sum, weight).

        Args:
            step: Optimiser step, from 0.
            weights: The trained weights, whole, in float32 (all ranks must call it together).
        """
        ...

    def observe(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Learn a finished step's metrics, summed over all ranks."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on from here."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        ...


class StepModule(nn.Module):
    """Model and step as one module, so that FSDP's root weights are gathered while the step runs.

    The head is used by the step, outside the decoder's own forward pass.
    """

    def __init__(self, model: nn.Module, step: Step) -> None:
        super().__init__()
        self.model = model
        self._step = step

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """The loss's total, weight and metrics, in a form that FSDP's hooks can walk."""
        loss = self._step(self.model, batch)
        return loss.total, loss.weight, dict(loss.metrics)


def micro_batch_size(config: TrainConfig, ranks: Ranks) -> int:
    """Rows of one forward pass on one rank.

    Raises:
        AccordError: batch_size is not a multiple of the ranks.
    """
    if config.batch_size % ranks.world:
        raise AccordError(
            f"batch_size {config.batch_size} is not a multiple of the {ranks.world} ranks",
            "batch_size",
            f"take {ranks.world * max(1, round(config.batch_size / ranks.world))}, "
            "or another number of ranks",
        )
    return config.micro_batch_size or config.batch_size // ranks.world


def split(rows: Sequence[Any], ranks: Ranks, size: int) -> list[tuple[Sequence[Any], bool]]:
    """This rank's micro-batches of at most `size` rows, each with whether it counts.

    Every rank has equally many, for they compute together: one that has run out of rows goes
    through the first row again, and that does not count.
    """
    share = -(-len(rows) // ranks.world)
    mine = rows[ranks.rank :: ranks.world]
    parts = [mine[i : i + size] for i in range(0, share, size)]
    return [(part, True) if len(part) else (rows[:1], False) for part in parts]


class Runner:
    """Runs the step on a source's rows and sums what comes of it.

    Args:
        root: Model and step, sharded if there are ranks.
        ranks: Who shares the rows.
        size: Rows of a micro-batch.
    """

    def __init__(self, root: nn.Module, ranks: Ranks, size: int) -> None:
        self._root, self._ranks, self._size = root, ranks, size

    def run(
        self, source: Source, step: int, after: Callable[[Tensor], None]
    ) -> tuple[Sums, list[tuple[Tensor, tuple[str, ...]]]]:
        """Add up losses and metrics of a step's rows on this rank.

        Args:
            source: Of the rows.
            step: Which of its steps.
            after: Called with each micro-batch's loss sum (backpropagates it, when training).

        Returns:
            The sums (`loss`, the metrics but for a `loss` of the objective's own, `_tokens` and
            `_rows`), and each micro-batch's loss sum with the ids of its rows.
        """
        sums = Sums(self._ranks.device)
        seen: list[tuple[Tensor, tuple[str, ...]]] = []
        for rows, counts in split(source.rows(step), self._ranks, self._size):
            batch = source.collate(rows).to(self._ranks.device)
            total, weight, metrics = self._root(batch)
            after(total if counts else total * 0)
            share = 1.0 if counts else 0.0
            sums.add("loss", total.detach() * share, weight * share)
            sums.add("_tokens", batch.ids_N.numel() * share, 0.0)
            sums.add("_rows", len(rows) * share, 0.0)
            for name, (part, part_weight) in metrics.items():
                if name != "loss":
                    sums.add(name, part * share, part_weight * share)
            seen.append((total.detach(), batch.row_ids))
        return sums, seen

    def evaluate(self, source: Source) -> dict[str, tuple[float, float]]:
        """(sum, weight) of loss and metrics over a whole source, over all ranks."""
        totals: dict[str, tuple[float, float]] = {}
        with torch.no_grad():
            for step in range(source.steps):
                sums, _ = self.run(source, step, after=lambda total: None)
                for name, (part, weight) in sums.unpack(self._ranks.sum(sums.pack())).items():
                    held = totals.get(name, (0.0, 0.0))
                    totals[name] = (held[0] + part, held[1] + weight)
        return totals
