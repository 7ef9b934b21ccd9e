"""What a scorer reads: whole responses on a padding-free stream, and which of them are compared.

Unlike a language model's batch, the last token of a response is read: a causal scorer's value
stands there. Axes: N tokens of the stream, R sequences, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batch import Layout, moved
from accord.data.packing import Example, place

Ids = NDArray[np.int64]
Pooling = Literal["last", "mean"]
SHARED = -1
"""Sequence of a token that several sequences share."""


@dataclass(frozen=True)
class ScoreBatch:
    """Responses to be scored, and the pairs of them that are compared.

    Args:
        ids_N: int64 token ids.
        position_N: int64 position of each token in its own sequence.
        layout: The attention layout of the stream.
        last_R: int64 index into the stream of each sequence's last token.
        sequence_N: int64 sequence of each token, -1 for those of a shared prompt.
        sequences: R, how many responses the batch holds.
        chosen_P: int64 sequence that is preferred, for each pair.
        rejected_P: int64 sequence that it is compared with.
        group_P: int64 group that each pair belongs to, in ascending order.
        groups: How many groups; a pair of the data is a group of its own.
        length_R: int64 tokens of each response, its prompt's not among them.
        row_ids: Stable ids of the data rows, for naming them when something goes wrong.
        margin_P: float32 how much better the chosen one is, or none.
        rating_R: float32 standardised rating of each sequence, or none.
    """

    ids_N: Tensor
    position_N: Tensor
    layout: Layout
    last_R: Tensor
    sequence_N: Tensor
    sequences: int
    chosen_P: Tensor
    rejected_P: Tensor
    group_P: Tensor
    groups: int
    length_R: Tensor
    row_ids: tuple[str, ...] = ()
    margin_P: Tensor | None = None
    rating_R: Tensor | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on `device`."""
        return moved(self, device)


def collate_scored(examples: Sequence[Example], pooling: Pooling) -> ScoreBatch:
    """Whole responses as a batch; an example of two responses is a pair, chosen first.

    With `last` the responses of an example share its prompt; with `mean` each stands with a copy of
    its prompt in a segment of its own. Sequence r is the r-th response, through all examples.
    """
    lay_out = _shared if pooling == "last" else _apart
    layouts = [laid for example in examples for laid in lay_out(example)]
    starts = np.cumsum([0, *(len(laid.ids) for laid in layouts[:-1])])
    first = np.cumsum([0, *(len(laid.last) for laid in layouts[:-1])])
    owners = [
        np.where(laid.response == SHARED, SHARED, laid.response + at)
        for laid, at in zip(layouts, first, strict=True)
    ]
    lasts = [laid.last + at for laid, at in zip(layouts, starts, strict=True)]
    counts = np.asarray([len(example.responses) for example in examples])
    chosen_P = (np.cumsum(counts) - counts)[counts == 2]
    margins = [example.margin for example in examples if len(example.responses) == 2]
    return ScoreBatch(
        ids_N=torch.from_numpy(np.concatenate([laid.ids for laid in layouts])),
        position_N=torch.from_numpy(np.concatenate([laid.position for laid in layouts])),
        layout=place([(laid.segment, laid.parent) for laid in layouts], starts),
        last_R=torch.from_numpy(np.concatenate(lasts)),
        sequence_N=torch.from_numpy(np.concatenate(owners)),
        sequences=int(counts.sum()),
        chosen_P=torch.from_numpy(chosen_P),
        rejected_P=torch.from_numpy(chosen_P + 1),
        group_P=torch.arange(len(chosen_P)),
        groups=len(chosen_P),
        length_R=torch.tensor([len(r.ids) for example in examples for r in example.responses]),
        row_ids=tuple(example.row_id for example in examples),
        margin_P=None
        if not margins or any(margin is None for margin in margins)
        else torch.tensor([float(margin or 0.0) for margin in margins]),
    )


@dataclass(frozen=True)
class Rated:
    """A text as the only response of an example, and its rating in the data's own unit."""

    example: Example
    rating: float


@dataclass(frozen=True)
class Scale:
    """Standardises ratings: (rating - mean) / std."""

    mean: float
    std: float

    @classmethod
    def of(cls, ratings: Sequence[float]) -> Self:
        """The scale on which these have mean 0 and, unless all are alike, deviation 1."""
        values = np.asarray(ratings, dtype=np.float64)
        return cls(float(values.mean()), float(values.std()) or 1.0)

    def __call__(self, rating: float) -> float:
        """The standardised rating."""
        return (rating - self.mean) / self.std


def collate_groups(
    groups: Sequence[Sequence[Rated]], pooling: Pooling, gap: float, scale: Scale
) -> ScoreBatch:
    """Groups of rated texts; every two of a group are a pair if their ratings differ by `gap`.

    Texts of equal ratings are never a pair. A group without a pair has its ratings alone.
    """
    texts = [text for group in groups for text in group]
    offsets = np.cumsum([0, *(len(group) for group in groups[:-1])])
    chosen, rejected, owner = [], [], []
    for number, (group, at) in enumerate(zip(groups, offsets, strict=True)):
        rating_T = np.asarray([text.rating for text in group], dtype=np.float64)
        ahead_TT = rating_T[:, None] - rating_T
        # the hair's breadth keeps 1.2 - 0.7 a gap of 0.5 in spite of rounding
        better, worse = np.nonzero((ahead_TT >= gap - 1e-9) & (ahead_TT > 0))
        chosen.append(better + at)
        rejected.append(worse + at)
        owner.append(np.full(len(better), number))
    return replace(
        collate_scored([text.example for text in texts], pooling),
        chosen_P=torch.from_numpy(np.concatenate(chosen)),
        rejected_P=torch.from_numpy(np.concatenate(rejected)),
        group_P=torch.from_numpy(np.concatenate(owner)),
        groups=len(groups),
        rating_R=torch.tensor([scale(text.rating) for text in texts]),
    )


@dataclass(frozen=True)
class _Laid:
    """Responses on the stream; indices are local to it."""

    ids: Ids
    position: Ids
    segment: Ids
    parent: Ids
    last: Ids
    response: Ids


def _shared(example: Example) -> list[_Laid]:
    """One prompt, and its responses that see it but not each other."""
    prompt = len(example.prompt)
    ids, position = list(example.prompt), list(range(prompt))
    # a lone response continues its prompt's own segment: plain causal attention
    alone = len(example.responses) == 1
    segment, owner = [0] * prompt, [0 if alone else SHARED] * prompt
    last: list[int] = []
    for number, response in enumerate(example.responses):
        read = len(response.ids)
        ids += response.ids
        position += range(prompt, prompt + read)
        segment += [0 if alone else number + 1] * read
        owner += [number] * read
        # an empty response is worth what its prompt is
        last.append(len(ids) - 1 if read else prompt - 1)
    return [_laid(ids, position, segment, [0] * len(ids), last, owner)]


def _apart(example: Example) -> list[_Laid]:
    """Each response with a prompt of its own."""
    found = []
    for response in example.responses:
        ids = [*example.prompt, *response.ids]
        zeros = [0] * len(ids)
        found.append(_laid(ids, list(range(len(ids))), zeros, zeros, [len(ids) - 1], zeros))
    return found


def _laid(*columns: Sequence[int]) -> _Laid:
    return _Laid(*(np.asarray(column, dtype=np.int64) for column in columns))
