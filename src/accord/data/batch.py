"""What a model reads in one forward pass: a stream of tokens without padding.

Axes: N tokens of the stream, G rows and T columns of the attention grid, S scored tokens,
R sequences (a pair is two sequences, 2i chosen and 2i+1 rejected).
"""

from dataclasses import dataclass, fields, replace
from typing import Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How a stream of N tokens is laid out for attention, and who sees whom.

    Token j is visible to token i of the same grid row when j <= i and j's segment is i's own
    segment or i's parent segment. Documents packed in one row have different segments; a shared
    prompt is the parent of its responses, which do not see each other.

    Args:
        grid_GT: int64, index into the stream, -1 where the grid is padded (on the right).
        segment_GT: int64, segment of each grid cell, -1 where padded.
        parent_GT: int64, parent segment; a token without one has its own segment here.
    """

    grid_GT: Tensor
    segment_GT: Tensor
    parent_GT: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same layout on `device`."""
        return moved(self, device)


@dataclass(frozen=True)
class TokenBatch:
    """A padding-free batch and the tokens in it that carry loss.

    The shift is made here, once: hidden state `predict_S[s]` of the stream predicts `target_S[s]`.

    Args:
        ids_N: int64 token ids.
        position_N: int64 position of each token in its own sequence (restarts at each).
        layout: The attention layout of the stream.
        predict_S: int64 index into the stream of the hidden state that predicts.
        target_S: int64 id to be predicted.
        weight_S: float32 weight of each prediction (0 never occurs: unscored tokens are absent).
        sequence_S: int64 sequence number of each scored token, in 0..sequences-1.
        sequences: R, how many sequences the batch holds.
        row_ids: Stable ids of the data rows, for naming them when something goes wrong.
        reference_R: float32 reference log-probabilities summed by sequence, or none.
        margin_P: float32 margin of each pair, or none.
        label_R: bool, whether each lone response is wanted, or none.
        groups: What the metrics of each row are kept apart by.
    """

    ids_N: Tensor
    position_N: Tensor
    layout: Layout
    predict_S: Tensor
    target_S: Tensor
    weight_S: Tensor
    sequence_S: Tensor
    sequences: int
    row_ids: tuple[str, ...] = ()
    reference_R: Tensor | None = None
    margin_P: Tensor | None = None
    label_R: Tensor | None = None
    groups: tuple[tuple[str, ...], ...] = ()

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on `device`."""
        return moved(self, device)


Tensors = TypeVar("Tensors")


def moved(batch: Tensors, device: torch.device | str) -> Tensors:
    """A dataclass with all its fields that can be moved on `device`."""
    there: dict[str, object] = {
        f.name: value.to(device)
        for f in fields(batch)  # type: ignore[arg-type]
        if hasattr(value := getattr(batch, f.name), "to")
    }
    return replace(batch, **there)  # type: ignore[type-var]
