"""Tokens of a stream on grids for attention, and back.

Axes: N tokens of the stream, H heads, d head width; B rows and T columns of a grid; C cells of all
grids and heads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class Moves:
    """Lays a stream's heads on grids, head by head, so that attention need not copy them again.

    Args:
        grids: int64 [B, T] each, the token that stands in a cell or -1; together they hold each
            token of the stream once.
    """

    def __init__(self, grids: Sequence[Tensor]) -> None:
        self._grids = grids
        self._places: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        cell_C = torch.cat([grid.flatten() for grid in grids])
        real = (cell_C >= 0).nonzero().flatten()
        token_C = cell_C[real]
        starts, columns, widths = (
            torch.empty_like(real).scatter_(0, token_C, fact[real]) for fact in _facts(grids)
        )
        self._start_N, self._column_N, self._width_N = starts, columns, widths
        self._full = len(real) == len(cell_C)

    def lay(self, x_NHd: Tensor) -> list[Tensor]:
        """The stream on each grid, [B, H, T, d], contiguous; holes repeat token 0."""
        heads = x_NHd.shape[1]
        there, back, _ = self._of(heads)
        cells_Cd = _Move.apply(x_NHd.flatten(0, 1), there, back, None)
        parts = cells_Cd.split([grid.numel() * heads for grid in self._grids])
        return [
            part.view(grid.shape[0], heads, grid.shape[1], -1)
            for part, grid in zip(parts, self._grids, strict=True)
        ]

    def take(self, parts: Sequence[Tensor]) -> Tensor:
        """What stands on the grids [B, H, T, d] as a stream, [N, H, d]; holes are left out."""
        heads = parts[0].shape[1]
        there, back, hole = self._of(heads)
        rows = [part.reshape(-1, part.shape[-1]) for part in parts]
        cells_Cd = rows[0] if len(rows) == 1 else torch.cat(rows)
        return _Move.apply(cells_Cd, back, there, hole).unflatten(0, (-1, heads))

    def _of(self, heads: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """For so many heads, made once: what stands in each cell, where each token's heads stand,
        and which cells are holes.

        Returns:
            `there_C`, int64, token * H + head (of a hole: of token 0); `back`, int64 [N * H], the
            cell of each; `hole_C1`, bool, or none where every cell is taken.
        """
        if heads not in self._places:
            head_H = torch.arange(heads, device=self._start_N.device)
            there = [g.clamp(min=0)[:, None] * heads + head_H[:, None] for g in self._grids]
            # a row's heads stand one after another, each as wide as the grid
            place_NH = head_H * self._width_N[:, None]
            back_NH = place_NH + (self._start_N * heads + self._column_N)[:, None]
            holes = [(g < 0)[:, None].expand(-1, heads, -1).flatten() for g in self._grids]
            self._places[heads] = (
                torch.cat([cells.flatten() for cells in there]),
                back_NH.flatten(),
                None if self._full else torch.cat(holes)[:, None],
            )
        return self._places[heads]


def _facts(grids: Sequence[Tensor]) -> Iterator[Tensor]:
    """Of every cell: where its row begins among the cells, its column, its grid's width."""
    sizes = [grid.numel() for grid in grids]
    offsets = [sum(sizes[:i]) for i in range(len(sizes))]
    rows = [
        torch.arange(grid.numel(), device=grid.device) // grid.shape[1] * grid.shape[1]
        for grid in grids
    ]
    yield torch.cat([row + offset for row, offset in zip(rows, offsets, strict=True)])
    yield torch.cat([torch.arange(len(row), device=row.device) - row for row in rows])
    yield torch.cat(
        [torch.full_like(row, grid.shape[1]) for row, grid in zip(rows, grids, strict=True)]
    )


class _Move(torch.autograd.Function):
    """Move rows by index; their gradients move back by the inverse index.

    Autograd would add gradients up by index, which is slow, for fear that a row goes to two places.
    Holes repeat a row but are seen by none, so that their gradient is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, hole: Tensor | None) -> Tensor:
        ctx.save_for_backward(back, hole)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        back, hole = ctx.saved_tensors
        grad = grads[0].index_select(0, back)
        return grad if hole is None else grad.masked_fill_(hole, 0), None, None, None
