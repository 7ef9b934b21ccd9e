"""A reference that moves towards the policy on the way (TR-DPO, arXiv 2404.09656)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from accord.data.packing import Example
from accord.stages.reference import Reference
from accord.stages.sources import ExampleSource, HeldoutExamples


class Watched:
    """Held-out rows whose reference log-probabilities are those of the moving reference."""

    def __init__(self, examples: Sequence[Example], batch_size: int) -> None:
        self.now = HeldoutExamples(examples, batch_size)
        self.steps, self.collate, self.tokens = self.now.steps, self.now.collate, self.now.tokens

    def rows(self, step: int) -> Sequence[Example]:
        """The examples of batch `step`."""
        return self.now.rows(step)


class SyncedReference:
    """A `train.Collector` of data rows: their reference log-probabilities follow the reference.

    Between two moves the reference is frozen, so the rows of all steps up to the next are scored at
    once. Its float32 weights are in the checkpoint: a resumed run scores them alike.

    Args:
        source: The rows, without reference log-probabilities.
        watched: Rows of the evaluations, scored under the same reference.
        reference: Where it starts; its model's weights are moved in place.
        every: Steps between two moves.
        alpha: The policy's share of the new reference.
    """

    def __init__(
        self,
        source: ExampleSource,
        watched: Watched,
        reference: Reference,
        every: int,
        alpha: float,
    ) -> None:
        self._source, self._watched, self._reference = source, watched, reference
        self._every, self._alpha = every, alpha
        self._weights: dict[str, Tensor] = {}
        self._scored: dict[int, Example] = {}
        self._moved = 0
        """The step before which the reference last moved."""
        self.steps, self.order = source.steps, source.order
        self.collate, self.tokens = source.collate, source.tokens

    def fill(
        self, step: int, weights: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, tuple[float, float]]:
        """Move the reference where it is time, and score what comes until the next move."""
        start = step - step % self._every
        if not self._weights:
            self._weights = {name: weight.clone() for name, weight in weights().items()}
        if start != self._moved:
            for name, weight in weights().items():
                self._weights[name].lerp_(weight, self._alpha)
            self._moved, self._scored = start, {}
        if not self._scored:
            self._reference.model.load_state_dict(self._weights)
            self._score()
        return {}

    def rows(self, step: int) -> list[Example]:
        """The rows of optimiser step `step`, over all ranks."""
        return [self._scored[i] for i in self.order.indices(step)]

    def observe(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Nothing depends on what a step came to."""

    def state(self) -> dict[str, Tensor]:
        """The reference's weights, and since when they are those."""
        weights = {f"reference/{name}": weight for name, weight in self._weights.items()}
        return {"moved": torch.tensor(self._moved)} | weights

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self._moved = int(tensors["moved"])
        names = {name: name.removeprefix("reference/") for name in tensors if name != "moved"}
        self._weights = {short: tensors[name].clone() for name, short in names.items()}
        self._scored = {}

    def _score(self) -> None:
        until = min(self._moved + self._every, self.steps)
        steps = range(self._moved, until)
        places = sorted({place for step in steps for place in self.order.indices(step)})
        scored = self._reference.in_memory([self._source.examples[i] for i in places])
        self._scored = dict(zip(places, scored, strict=True))
        held = self._reference.in_memory(self._watched.now.examples)
        self._watched.now = HeldoutExamples(held, self._watched.now.batch_size)
