"""Tensors that llama.cpp lays out otherwise than Hugging Face: rules of `gguf_shape`'s table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.checkpoint.families.rule import Rule


@dataclass(frozen=True)
class Paired(Rule):
    """A query or key projection whose rows llama.cpp orders by rotated pairs.

    llama.cpp rotates neighbouring channels (2i, 2i + 1) and stores a head's rows so; Hugging Face
    and Accord rotate channel i of the first half with channel i of the second.
    """

    heads: int = 1

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor, made of ours."""
        whole = super().pack(weights)
        halves = whole.unflatten(0, (self.heads, 2, -1))  # [H, 2, d / 2, D]
        return halves.transpose(1, 2).reshape(whole.shape)

    def unpack(self, theirs: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Our tensor, made of theirs."""
        pairs = theirs.unflatten(0, (self.heads, -1, 2))  # [H, d / 2, 2, D]
        return super().unpack(pairs.transpose(1, 2).reshape(theirs.shape), shapes)


@dataclass(frozen=True)
class Share(Rule):
    """One of two equal shares of the rows of every expert: gates, then ups."""

    part: Literal[0, 1] = 0

    def shape(self, shapes: Mapping[str, torch.Size]) -> torch.Size:
        """Shape of their tensor, given the shapes of ours."""
        experts, rows, columns = shapes[self.ours[0]]
        return torch.Size((experts, rows // 2, columns))

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor, made of ours."""
        return weights[self.ours[0]].chunk(2, dim=1)[self.part]

    def fill(self, weights: Mapping[str, Tensor], theirs: Tensor) -> None:
        """Copy theirs to its place in ours."""
        self.pack(weights).copy_(theirs)
