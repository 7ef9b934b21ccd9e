"""Batches for the loop: which rows an optimiser step sees, and how they become a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from accord.config.train import TrainConfig
from accord.data.batch import TokenBatch
from accord.data.order import Order
from accord.data.packing import Blocks, Example, collate


def steps_of(config: TrainConfig, order: Order) -> int:
    """Optimiser steps of a run: as many as configured, or as its epochs take."""
    return config.steps if config.steps is not None else order.steps(config.epochs or 1)


@dataclass(frozen=True)
class ExampleSource:
    """Examples in shuffled order."""

    examples: Sequence[Example]
    order: Order
    steps: int

    def rows(self, step: int) -> list[Example]:
        """The examples of optimiser step `step`, over all ranks."""
        return [self.examples[i] for i in self.order.indices(step)]

    def collate(self, rows: Sequence[Example]) -> TokenBatch:
        """Examples as a padding-free batch."""
        return collate(rows)

    def tokens(self, rows: Sequence[Example]) -> list[int]:
        """Tokens of each example."""
        return [example.tokens for example in rows]

    def epoch(self, step: int) -> float:
        """Epochs seen after `step` steps."""
        return self.order.epoch(step)


@dataclass(frozen=True)
class BlockSource:
    """Blocks of packed documents in shuffled order."""

    blocks: Blocks
    order: Order
    steps: int

    def rows(self, step: int) -> list[int]:
        """The block numbers of optimiser step `step`, over all ranks."""
        return self.order.indices(step)

    def collate(self, rows: Sequence[int]) -> TokenBatch:
        """Blocks as one dense batch."""
        return self.blocks.collate(rows)

    def tokens(self, rows: Sequence[int]) -> list[int]:
        """Tokens of each block."""
        return [self.blocks.length] * len(rows)

    def epoch(self, step: int) -> float:
        """Epochs seen after `step` steps."""
        return self.order.epoch(step)


@dataclass(frozen=True)
class HeldoutExamples:
    """Held-out examples in their own order, each once."""

    examples: Sequence[Example]
    batch_size: int

    @property
    def steps(self) -> int:
        """Batches it takes to see every example."""
        return -(-len(self.examples) // self.batch_size)

    def rows(self, step: int) -> Sequence[Example]:
        """The examples of batch `step`."""
        return self.examples[step * self.batch_size : (step + 1) * self.batch_size]

    def collate(self, rows: Sequence[Example]) -> TokenBatch:
        """Examples as a padding-free batch."""
        return collate(rows)

    def tokens(self, rows: Sequence[Example]) -> list[int]:
        """Tokens of each example."""
        return [example.tokens for example in rows]
