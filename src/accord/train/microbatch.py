"""What the loop asks of a source and its batches, and the step run on each micro-batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.objectives.loss import Loss
from accord.train.metrics import Sums, means
from accord.train.parallel import Ranks
from accord.train.routing import RouterLosses, Tally
from accord.train.splitting import Parts, by_count, by_tokens, micro_batch_size

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


@runtime_checkable
class Sized(Source, Protocol):
    """A source that knows how many tokens its rows have: what `micro_batch_tokens` needs."""

    def tokens(self, rows: Sequence[Any]) -> list[int]:
        """Tokens that each row puts into a batch."""
        ...


@runtime_checkable
class Foreseeing(Source, Protocol):
    """A source whose step needs to know something of all its rows beforehand, such as KTO's KL.

    Before the rows of a step are run, those of the same step of `beforehand` are, without gradient.
    """

    @property
    def beforehand(self) -> Source:
        """What is run first."""
        ...

    def learn(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Take the (sum, weight) of its metrics, over all micro-batches and ranks."""
        ...


class StepModule(nn.Module):
    """Model and step as one module, so that FSDP's root weights are gathered while the step runs.

    The head is used by the step, outside the decoder's own forward pass.

    Args:
        model: What is trained.
        step: Its objective.
        routers: Losses of its mixtures of experts, if it has any: part of every pass that has a
            gradient.
    """

    def __init__(self, model: nn.Module, step: Step, routers: RouterLosses | None = None) -> None:
        super().__init__()
        self.model = model
        self._step, self._routers = step, routers

    def forward(
        self, batch: Batch, share: float = 1.0
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]], Tensor]:
        """The loss's total, weight and metrics, and what routers add to the total.

        In a form that FSDP's hooks can walk; `share` is 0 for a pass that does not count.
        """
        if self._routers is None or not torch.is_grad_enabled():
            loss = self._step(self.model, batch)
            return loss.total, loss.weight, dict(loss.metrics), torch.zeros_like(loss.total)
        with self._routers.watched() as seen:
            loss = self._step(self.model, batch)
        extra, metrics = self._routers.terms(seen, loss.weight, share)
        return loss.total, loss.weight, {**loss.metrics, **metrics}, extra


class Runner:
    """Runs the step on a source's rows and sums what comes of it.

    Args:
        root: Model and step, sharded if there are ranks.
        ranks: Who shares the rows.
        config: How rows are split.
        routers: Those of the root's model, if it has any.

    Raises:
        AccordError: batch_size is not a multiple of the ranks.
    """

    def __init__(
        self,
        root: nn.Module,
        ranks: Ranks,
        config: TrainConfig,
        routers: RouterLosses | None = None,
    ) -> None:
        self._root, self._ranks, self._routers = root, ranks, routers
        self._size = micro_batch_size(config, ranks)
        self._budget = config.micro_batch_tokens

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
        if not isinstance(source, Foreseeing):
            return self._all(source, step, after)
        foreseen = self._foresee(source.beforehand, step)
        if math.isfinite(foreseen["loss"][0]):
            source.learn(foreseen)
            return self._all(source, step, after)
        sums, seen = self._all(source, step, after)
        # whatever the rows themselves give, there is no objective to give it to
        sums.add("loss", math.nan, 0.0)
        return sums, seen

    def _all(
        self, source: Source, step: int, after: Callable[[Tensor], None]
    ) -> tuple[Sums, list[tuple[Tensor, tuple[str, ...]]]]:
        parts = self._split(source, source.rows(step))
        if self._routers is None or not torch.is_grad_enabled() or len(parts) == 1:
            return self._run(source, parts, after)
        with self._routers.known(self._routers.summed(self._tally(source, parts))):
            return self._run(source, parts, after)

    def _run(
        self, source: Source, parts: Parts, after: Callable[[Tensor], None]
    ) -> tuple[Sums, list[tuple[Tensor, tuple[str, ...]]]]:
        sums = Sums(self._ranks.device)
        seen: list[tuple[Tensor, tuple[str, ...]]] = []
        for rows, counts in parts:
            share = 1.0 if counts else 0.0
            batch = source.collate(rows).to(self._ranks.device)
            total, weight, metrics, extra = self._root(batch, share)
            after((total + extra) if counts else (total + extra) * 0)
            sums.add("loss", total.detach() * share, weight * share)
            sums.add("_tokens", batch.ids_N.numel() * share, 0.0)
            sums.add("_rows", len(rows) * share, 0.0)
            for name, (part, part_weight) in metrics.items():
                if name != "loss":
                    sums.add(name, part * share, part_weight * share)
            seen.append((total.detach(), batch.row_ids))
        return sums, seen

    @torch.no_grad()
    def _tally(self, source: Source, parts: Parts) -> Tally:
        """What this rank's routers do over a step's rows."""
        assert self._routers is not None
        held: Tally | None = None
        for rows, counts in parts:
            with self._routers.watched() as seen:
                _, weight, _, _ = self._root(source.collate(rows).to(self._ranks.device))
            own = self._routers.tally(seen, weight)
            vector = own.packed() * float(counts)
            held = own.unpacked(vector if held is None else held.packed() + vector)
        assert held is not None
        return held

    def _split(self, source: Source, rows: Sequence[Any]) -> Parts:
        if self._budget is None:
            return by_count(rows, self._ranks, self._size)
        if not isinstance(source, Sized):
            raise AccordError(
                "The rows of this stage have no token count of their own",
                "micro_batch_tokens",
                "set micro_batch_size instead",
            )
        return by_tokens(rows, source.tokens(rows), self._ranks, self._budget)

    @torch.no_grad()
    def _foresee(self, source: Source, step: int) -> dict[str, tuple[float, float]]:
        sums, _ = self.run(source, step, after=lambda total: None)
        return sums.unpack(self._ranks.sum(sums.pack()))

    def evaluate(self, source: Source) -> dict[str, float]:
        """Means of loss and metrics over a whole source and all ranks, with its own figures."""
        totals: dict[str, tuple[float, float]] = {}
        with torch.no_grad():
            for step in range(source.steps):
                sums, _ = self.run(source, step, after=lambda total: None)
                for name, (part, weight) in sums.unpack(self._ranks.sum(sums.pack())).items():
                    held = totals.get(name, (0.0, 0.0))
                    totals[name] = (held[0] + part, held[1] + weight)
        own = source.figures(totals) if isinstance(source, Measured) else {}
        return {**means(totals), **own}
