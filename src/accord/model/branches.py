"""Attention of responses that share their prompt, without the cells in which they would meet.

Axes: N tokens of the stream, P prompts, k branches of each, T tokens of the longest prompt, U of
the longest branch, H heads, K key-value heads, g = H/K, d head width.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batch import Layout
from accord.model.attention import SHORT, as_bias, causal_attention

Ids = NDArray[np.int64]


class Branches:
    """How prompts with equally many branches attend: prompts to themselves, a branch to its prompt
    and to itself.

    On a grid whose rows hold a prompt and all its branches, most cells are pairs of branches that
    do not see each other: at 8 branches as long as their prompt five of six.

    Args:
        prompts: Place in the stream of each prompt's tokens [P, T], -1 on the right of short ones.
        branches: The same of each branch's [P, k, U].
    """

    def __init__(self, prompts: Ids, branches: Ids) -> None:
        (self.count, self.time), (_, self.k, self.width) = prompts.shape, branches.shape
        cell = torch.from_numpy(np.concatenate([prompts.ravel(), branches.ravel()]))
        self.cell_token = cell.clamp(min=0)
        real = (cell >= 0).nonzero().flatten()
        self.token_cell = torch.empty_like(real).scatter_(0, cell[real], real)
        self.hole = None if len(real) == len(cell) else (cell < 0)[:, None, None]
        own = torch.ones(self.width, self.width, dtype=torch.bool).tril_()
        above = torch.from_numpy(prompts >= 0)[:, None].expand(-1, self.width, -1)
        sees_PUS = torch.cat([above, own.expand(self.count, -1, -1)], -1)
        self._bias = as_bias(sees_PUS, torch.bfloat16)[:, None, None, None]

    @property
    def cells(self) -> int:
        """Scores of one head."""
        return self.count * (self.time**2 + self.k * self.width * (self.time + self.width))

    @classmethod
    def of(cls, layout: Layout) -> Self | None:
        """The branches of a layout on the CPU; none where prompts have no or unequal branches."""
        if layout.grid_GT.device.type != "cpu":
            return None
        grid, segment, parent = (
            part.numpy() for part in (layout.grid_GT, layout.segment_GT, layout.parent_GT)
        )
        real = grid >= 0
        row = np.broadcast_to(np.arange(len(grid))[:, None], grid.shape)[real]
        most = int(segment.max()) + 1
        own, above = row * most + segment[real], row * most + parent[real]
        is_root = own == above
        if is_root.all():
            return None
        roots, rooted = np.unique(above, return_inverse=True)
        ends, branch = np.unique(own[~is_root], return_inverse=True)
        first = np.zeros(len(ends), dtype=np.int64)
        first[branch] = rooted[~is_root]
        k, rest = divmod(len(ends), len(roots))
        if k < 2 or rest or (np.bincount(first, minlength=len(roots)) != k).any():
            return None
        token = grid[real]
        prompts = _rows(token[is_root], rooted[is_root], len(roots))
        # segments are numbered prompt by prompt within a row: branches come sorted by prompt
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        branches = _rows(token[~is_root], place[branch], len(ends))
        return cls(prompts, branches.reshape(len(roots), k, -1))

    def suits(self, cells: int) -> bool:
        """Whether this pays: short rows, and less than three quarters of the grid's `cells`."""
        return self.time + self.width <= SHORT and 4 * self.cells < 3 * cells

    def split(self, x_CHd: Tensor) -> tuple[Tensor, Tensor]:
        """Cells as prompts [P, H, T, d] and branches [P, k, U, H, d]."""
        size = self.count * self.time
        prompts, branches = x_CHd.split([size, len(x_CHd) - size])
        return (
            prompts.unflatten(0, (self.count, self.time)).transpose(1, 2),
            branches.unflatten(0, (self.count, self.k, self.width)),
        )

    def attend(self, q_CHd: Tensor, k_CKd: Tensor, v_CKd: Tensor) -> Tensor:
        """Attention of every cell, [C, H, d]."""
        heads, kv_heads, size = q_CHd.shape[1], k_CKd.shape[1], q_CHd.shape[2]
        (q, qs), (k, ks), (v, vs) = (self.split(x) for x in (q_CHd, k_CKd, v_CKd))
        out_PHTd = causal_attention(q, k, v)
        shape = (self.count, self.k, self.width, kv_heads, heads // kv_heads, size)
        # [P, K, k, g, U, d]: queries of a prompt's branches below each other
        qs = (qs.view(shape) * size**-0.5).permute(0, 3, 1, 4, 2, 5)
        ks, vs = ks.permute(0, 3, 1, 2, 4), vs.permute(0, 3, 1, 2, 4)  # [P, K, k, U, d]
        above = qs.flatten(2, 4) @ k.transpose(-1, -2)
        beside = qs.flatten(3, 4) @ ks.transpose(-1, -2)
        parts = [x.reshape(*qs.shape[:-1], -1) for x in (above, beside)]
        scores = torch.cat(parts, -1)
        scores = scores.add_(self._bias.to(scores.dtype))
        above, beside = scores.softmax(-1).split([self.time, self.width], -1)
        mixed = (above.flatten(2, 4) @ v).view(qs.shape)
        mixed = mixed + (beside.flatten(3, 4) @ vs).view(qs.shape)
        branches = mixed.permute(0, 2, 4, 1, 3, 5).reshape(-1, heads, size)
        return torch.cat([out_PHTd.transpose(1, 2).reshape(-1, heads, size), branches])


def _rows(token: Ids, row: Ids, count: int) -> Ids:
    """Tokens of each row in their order, -1 on the right of short rows."""
    lengths = np.bincount(row, minlength=count)
    order = np.argsort(row, kind="stable")
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = np.full((count, lengths.max()), -1, dtype=np.int64)
    found[row[order], column] = token[order]
    return found
