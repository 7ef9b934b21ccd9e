"""From tokens to padding-free batches: packed documents, and prompts shared by their responses.

The only place where predictions are shifted against inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from accord.data.batch import Layout, TokenBatch

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Documents laid end to end and cut into blocks of equal length, for next-token training.

    Where the tokenizer has no separate start token, the end token that closes a document also
    opens the next one: it belongs to the segment it opens, so that no document sees another.

    Args:
        tokens: All documents' tokens, int64 [total].
        opens: True where a document's first token stands, bool [total].
        length: Tokens a block.
        start_differs: Whether start and end token differ; then "end → start" is not scored.
    """

    tokens: Ids
    opens: NDArray[np.bool_]
    length: int
    start_differs: bool

    @classmethod
    def of(
        cls, documents: Sequence[Sequence[int]], start_id: int, end_id: int, length: int
    ) -> "Blocks":
        """Lay documents end to end, each opened by the start and closed by the end token."""
        differs = start_id != end_id
        closing = [end_id] if differs else []
        pieces = [np.asarray([start_id, *doc, *closing], dtype=np.int64) for doc in documents]
        sizes = [len(piece) for piece in pieces]
        # one more boundary, so that the last document's end is predicted too
        tokens = np.concatenate([*pieces, np.asarray([start_id], dtype=np.int64)])
        opens = np.zeros(len(tokens), dtype=np.bool_)
        opens[np.cumsum([0, *sizes])] = True
        return cls(tokens, opens, length, differs)

    def __len__(self) -> int:
        """Whole blocks; what is left over at the end is `remainder`."""
        return (len(self.tokens) - 1) // self.length

    @property
    def remainder(self) -> int:
        """Tokens after the last whole block, never trained on."""
        return len(self.tokens) - 1 - len(self) * self.length

    def collate(self, rows: Sequence[int]) -> TokenBatch:
        """Blocks by number, each one row of the attention grid, every next token scored."""
        at_BT = np.asarray(rows)[:, None] * self.length + np.arange(self.length)
        opens_BT = self.opens[at_BT]
        segment_BT = np.cumsum(opens_BT, axis=1)
        column_BT = np.broadcast_to(np.arange(self.length), at_BT.shape)
        opened_at_BT = np.maximum.accumulate(np.where(opens_BT, column_BT, 0), axis=1)
        scored_BT = np.ones_like(opens_BT) if not self.start_differs else ~self.opens[at_BT + 1]
        predict_S = np.flatnonzero(scored_BT)
        segment_GT = torch.from_numpy(segment_BT)
        return TokenBatch(
            ids_N=torch.from_numpy(self.tokens[at_BT].ravel()),
            position_N=torch.from_numpy((column_BT - opened_at_BT).ravel()),
            layout=Layout(torch.arange(at_BT.size).view(at_BT.shape), segment_GT, segment_GT),
            predict_S=torch.from_numpy(predict_S),
            target_S=torch.from_numpy(self.tokens[at_BT + 1].ravel()[predict_S]),
            weight_S=torch.ones(len(predict_S)),
            sequence_S=torch.from_numpy(predict_S // self.length),
            sequences=len(rows),
            row_ids=tuple(f"block {row}" for row in rows),
        )


@dataclass(frozen=True)
class Response:
    """Tokens that follow a prompt, and which of them carry loss.

    Args:
        ids: Token ids, the end token included.
        mask: True where a token is to be predicted.
    """

    ids: tuple[int, ...]
    mask: tuple[bool, ...]


@dataclass(frozen=True)
class Example:
    """A prompt and its responses: one for SFT, two (chosen, rejected) for a pair, k for a group.

    Args:
        prompt: Token ids, at least one.
        responses: The responses, in order.
        row_id: Stable id of the data row.
        reference: Reference log-probability of each response, summed over its tokens, if known.
        margin: Margin of a pair, if the data has one.
        label: Whether a lone response is wanted, if the data says so.
        groups: What its metrics are kept apart by, such as `source:hh_rlhf`.
    """

    prompt: tuple[int, ...]
    responses: tuple[Response, ...]
    row_id: str = ""
    reference: tuple[float, ...] | None = None
    margin: float | None = None
    label: bool | None = None
    groups: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Tokens of the prompt and its longest response."""
        return len(self.prompt) + max(len(response.ids) for response in self.responses)

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and all its responses: what a batch holds of it."""
        return len(self.prompt) + sum(len(response.ids) for response in self.responses)


def split_mask(ids: Sequence[int], mask: Sequence[bool]) -> tuple[tuple[int, ...], Response]:
    """Cut a rendered conversation before its first scored token: what stands before is prompt."""
    cut = max(1, next((i for i, scored in enumerate(mask) if scored), len(ids)))
    return tuple(ids[:cut]), Response(tuple(ids[cut:]), tuple(mask[cut:]))


def fit(example: Example, max_length: int) -> Example | None:
    """The example with responses cut to `max_length`, or none if one would lose all its loss."""
    room = max_length - len(example.prompt)
    cut = tuple(Response(r.ids[: max(room, 0)], r.mask[: max(room, 0)]) for r in example.responses)
    if not all(any(response.mask) for response in cut):
        return None
    return replace(example, responses=cut)


def collate(examples: Sequence[Example]) -> TokenBatch:
    """A padding-free batch in which the responses of an example share its prompt.

    The last token of a response is only ever predicted, so it is not read. Sequence r of the batch
    is the r-th response, counted through all examples: a pair is sequences 2i and 2i + 1.
    """
    layouts = [_lay_out(example) for example in examples]
    lengths = [len(layout.ids) for layout in layouts]
    starts = np.cumsum([0, *lengths[:-1]])
    responses = [response for example in examples for response in example.responses]
    counts = np.cumsum([0, *[len(example.responses) for example in examples[:-1]]])
    predict_S = np.concatenate([lay.predict + at for lay, at in zip(layouts, starts, strict=True)])
    references = [example.reference for example in examples]
    margins = [example.margin for example in examples]
    labels = [example.label for example in examples]
    return TokenBatch(
        ids_N=torch.from_numpy(np.concatenate([layout.ids for layout in layouts])),
        position_N=torch.from_numpy(np.concatenate([layout.position for layout in layouts])),
        layout=place([(layout.segment, layout.parent) for layout in layouts], starts),
        predict_S=torch.from_numpy(predict_S),
        target_S=torch.from_numpy(np.concatenate([layout.target for layout in layouts])),
        weight_S=torch.ones(len(predict_S)),
        sequence_S=torch.from_numpy(
            np.concatenate([lay.response + c for lay, c in zip(layouts, counts, strict=True)])
        ),
        sequences=len(responses),
        row_ids=tuple(example.row_id for example in examples),
        reference_R=None
        if any(reference is None for reference in references)
        else torch.tensor([x for reference in references for x in reference or ()]),
        margin_P=None
        if any(margin is None for margin in margins)
        else torch.tensor([margin or 0.0 for margin in margins]),
        label_R=None if any(label is None for label in labels) else torch.tensor(labels),
        groups=tuple(example.groups for example in examples),
    )


@dataclass(frozen=True)
class _Laid:
    """One example on the stream; indices are local to it."""

    ids: Ids
    position: Ids
    segment: Ids
    parent: Ids
    predict: Ids
    target: Ids
    response: Ids


def _lay_out(example: Example) -> _Laid:
    prompt = len(example.prompt)
    ids, position = list(example.prompt), list(range(prompt))
    # a lone response continues its prompt's own segment: plain causal attention
    alone = len(example.responses) == 1
    segment, parent = [0] * prompt, [0] * prompt
    predict, target, owner = [], [], []
    for number, response in enumerate(example.responses):
        at, read = len(ids), max(len(response.ids) - 1, 0)
        ids += response.ids[:read]
        position += range(prompt, prompt + read)
        segment += [0 if alone else number + 1] * read
        parent += [0] * read
        for i, (token, scored) in enumerate(zip(response.ids, response.mask, strict=True)):
            if scored:
                predict.append(at + i - 1 if i else prompt - 1)
                target.append(token)
                owner.append(number)
    arrays = (ids, position, segment, parent, predict, target, owner)
    return _Laid(*(np.asarray(values, dtype=np.int64) for values in arrays))


def place(parts: Sequence[tuple[Ids, Ids]], starts: NDArray[np.int64]) -> Layout:
    """Place parts of a stream on the rows of the attention grid, first fit by decreasing length.

    Args:
        parts: Segment and parent segment of each token, numbered from 0 in each part.
        starts: Where in the stream each part begins.
    """
    lengths = [len(segment) for segment, _ in parts]
    width = max(lengths)
    rows: list[list[int]] = []
    free: list[int] = []
    for part in sorted(range(len(parts)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, room in enumerate(free) if room >= lengths[part]), None)
        if row is None:
            rows.append([])
            free.append(width)
            row = len(rows) - 1
        rows[row].append(part)
        free[row] -= lengths[part]
    grid, segment, parent = (np.full((len(rows), width), -1, dtype=np.int64) for _ in range(3))
    for r, members in enumerate(rows):
        column, opened = 0, 0
        for part in members:
            own, above = parts[part]
            end = column + lengths[part]
            grid[r, column:end] = starts[part] + np.arange(lengths[part])
            segment[r, column:end] = opened + own
            parent[r, column:end] = opened + above
            column, opened = end, opened + int(own.max()) + 1
    return Layout(*(torch.from_numpy(cells) for cells in (grid, segment, parent)))
