"""Attention of responses that share their prompt, without the cells in which they would meet.

Axes: N tokens of the stream, P prompts, k branches of each, R = P k branches, T tokens of the
longest prompt, U of the longest branch, S = T + U, H heads, K key-value heads, d head width.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batch import Layout
from accord.model.attention import as_bias, attention, causal_attention
from accord.model.moves import Moves

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
        grids = (prompts, branches.reshape(-1, self.width))
        self._moves = Moves([torch.from_numpy(grid) for grid in grids])
        own = torch.ones(self.width, self.width, dtype=torch.bool).tril_()
        above = torch.from_numpy(np.repeat(prompts >= 0, self.k, 0))[:, None]
        self._sees_RUS = torch.cat(
            [
                above.expand(-1, self.width, -1),
                own.expand(self.count * self.k, -1, -1),
            ],
            -1,
        )
        self._bias: dict[torch.dtype, Tensor] = {}

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
        """Whether this pays: less than three quarters of the grid's `cells`."""
        return 4 * self.cells < 3 * cells

    def attend(self, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor) -> Tensor:
        """Attention of every token, [N, H, d]."""
        (q, qs), (k, ks), (v, vs) = (self._moves.lay(x) for x in (q_NHd, k_NKd, v_NKd))
        branches = attention(qs, self._under(k, ks), self._under(v, vs), self._mask(q.dtype))
        return self._moves.take([causal_attention(q, k, v), branches])

    def _under(self, x_PKTd: Tensor, x_RKUd: Tensor) -> Tensor:
        """Each branch's keys or values below its prompt's, [R, K, T + U, d]."""
        above = x_PKTd[:, None].expand(-1, self.k, -1, -1, -1).flatten(0, 1)
        return torch.cat([above, x_RKUd], 2)

    def _mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to scores, [R, 1, U, T + U]."""
        if dtype not in self._bias:
            self._bias[dtype] = as_bias(self._sees_RUS, dtype)[:, None]
        return self._bias[dtype]


def _rows(token: Ids, row: Ids, count: int) -> Ids:
    """Tokens of each row in their order, -1 on the right of short rows."""
    lengths = np.bincount(row, minlength=count)
    order = np.argsort(row, kind="stable")
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = np.full((count, lengths.max()), -1, dtype=np.int64)
    found[row[order], column] = token[order]
    return found
