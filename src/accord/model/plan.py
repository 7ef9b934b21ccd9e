"""Attention in training: from the stream to a grid of rows and back.

Axes: N tokens of the stream, G rows and T columns of the grid, H heads, d head width.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from accord.data.batch import Layout, TokenBatch
from accord.model.attention import as_bias, attention, causal_attention
from accord.model.branches import Branches
from accord.model.moves import Moves


class Plan:
    """How one batch attends; a strategy for `Decoder.forward`.

    Linear layers run on the stream without padding; only here are queries, keys and values laid on
    the grid. Two fast cases are found out once: a grid that is the stream itself (a reshape, no
    gather) and rows of one segment each (plain causal attention: what is padded on the right is
    seen by no token).
    """

    def __init__(self, layout: Layout) -> None:
        grid_GT = layout.grid_GT
        real_GT = grid_GT >= 0
        own_GT = layout.segment_GT == layout.parent_GT
        alone_GT = own_GT & (layout.segment_GT == layout.segment_GT[:, :1])
        cells = torch.arange(grid_GT.numel(), device=grid_GT.device)
        facts = torch.stack(
            (
                (grid_GT.flatten() == cells).all(),
                (alone_GT | ~real_GT).all(),
                real_GT.all(),
            )
        )
        # one transfer from the device for all three
        self.is_stream, self.is_causal, self.is_full = facts.tolist()
        self.shape = (grid_GT.shape[0], grid_GT.shape[1])
        self._layout = layout
        self._branches = None if self.is_causal else Branches.of(layout)
        self._bias: dict[tuple[int | None, torch.dtype], Tensor] = {}
        self._moves = Moves([grid_GT])

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """The plan of a batch's layout, on the layout's device."""
        return cls(layout)

    @classmethod
    def dense(cls, batch: int, time: int, device: torch.device | str = "cpu") -> Self:
        """The plan of `batch` causal sequences of `time` tokens each, laid end to end."""
        return cls.ragged([time] * batch, device)

    @classmethod
    def ragged(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> Self:
        """The plan of causal sequences of these lengths, laid end to end."""
        length_B1 = torch.tensor(list(lengths))[:, None]
        column_BT = torch.arange(int(length_B1.max())).expand(len(lengths), -1)
        start_B1 = length_B1.cumsum(0) - length_B1
        real_BT = column_BT < length_B1
        grid_BT = torch.where(real_BT, start_B1 + column_BT, -1).to(device)
        segment_BT = torch.where(real_BT, 0, -1).to(device)
        return cls(Layout(grid_BT, segment_BT, segment_BT))

    @staticmethod
    def bidirectional(layout: Layout) -> "Plan":
        """A plan in which every token sees its whole segment, later tokens too; no parents."""
        return _Bidirectional(layout)

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention of every token to those it may see, [N, H, d]."""
        branches = self._branches
        if branches is not None and window is None and branches.suits(self.cells):
            return branches.attend(q_NHd, k_NKd, v_NKd)
        q, k, v = (self.to_grid(x) for x in (q_NHd, k_NKd, v_NKd))
        return self.to_stream(self.on_grid(q, k, v, window))

    @property
    def cells(self) -> int:
        """Scores of one head on the grid."""
        return self.shape[0] * self.shape[1] ** 2

    def to_grid(self, x_NHd: Tensor) -> Tensor:
        """Lay tokens on the grid, [G, H, T, d]."""
        if self.is_stream:
            return x_NHd.unflatten(0, self.shape).transpose(1, 2)
        return self._moves.lay(x_NHd)[0]

    def to_stream(self, x_GHTd: Tensor) -> Tensor:
        """Take tokens off the grid, [N, H, d]."""
        if self.is_stream:
            return x_GHTd.transpose(1, 2).flatten(0, 1)
        return self._moves.take([x_GHTd])

    def on_grid(self, q_GHTd: Tensor, k_GKTd: Tensor, v_GKTd: Tensor, window: int | None) -> Tensor:
        """Attention on the grid, [G, H, T, d]."""
        if self.is_causal and (window is None or window >= self.shape[1]):
            return causal_attention(q_GHTd, k_GKTd, v_GKTd)
        return attention(q_GHTd, k_GKTd, v_GKTd, self.bias(window, q_GHTd.dtype))

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What is added to scores, [G or 1, 1, T, T]; made once for each window."""
        key = (window, dtype)
        if key not in self._bias:
            self._bias[key] = as_bias(self.visible(window), dtype)[:, None]
        return self._bias[key]

    def visible(self, window: int | None) -> Tensor:
        """True where the token of a row (axis 1) sees that of a column (axis 2), [G or 1, T, T]."""
        time, device = self.shape[1], self._layout.grid_GT.device
        sees = torch.ones(time, time, dtype=torch.bool, device=device).tril_()[None]
        if not self.is_causal:
            segment_GT, parent_GT = self._layout.segment_GT, self._layout.parent_GT
            key_G1T = segment_GT[:, None, :]
            sees = sees & ((key_G1T == segment_GT[:, :, None]) | (key_G1T == parent_GT[:, :, None]))
        if window is None:
            return sees
        # a token's position in its sequence is the number of tokens before it that it sees
        position_GT = sees.sum(-1)
        return sees & (position_GT[:, :, None] - position_GT[:, None, :] < window)


class _Bidirectional(Plan):
    """Every token of a segment sees every other; a window is a distance to both sides."""

    def on_grid(self, q_GHTd: Tensor, k_GKTd: Tensor, v_GKTd: Tensor, window: int | None) -> Tensor:
        """Attention on the grid, [G, H, T, d]."""
        return attention(q_GHTd, k_GKTd, v_GKTd, self.bias(window, q_GHTd.dtype))

    def visible(self, window: int | None) -> Tensor:
        """True where the token of a row (axis 1) sees that of a column (axis 2), [G, T, T]."""
        segment_GT = self._layout.segment_GT
        sees = segment_GT[:, :, None] == segment_GT[:, None, :]
        if window is None:
            return sees
        column_T = torch.arange(self.shape[1], device=segment_GT.device)
        return sees & ((column_T[:, None] - column_T).abs() < window)


def predicting_hidden(model: Callable[..., Tensor], batch: TokenBatch) -> Tensor:
    """The hidden states [S, D] that predict a batch's scored tokens."""
    hidden_ND = model(batch.ids_N, batch.position_N, Plan.of(batch.layout))
    return hidden_ND.index_select(0, batch.predict_S)
