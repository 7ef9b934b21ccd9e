"""Attention in decoding: keys and values kept in slots, each row at its own length.

Axes: L layers, B slots, H query heads, K key-value heads, G queries of a key-value head, T
positions, S positions read, d head width, N tokens of the stream, R = N K rows of products, M =
N 2 K new keys and values.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.plan import Plan

TILE = 32
"""Steps read the cache in multiples of this many positions: a shape that differs at each step would
have the CPU's matrix library plan every product anew, which costs more than the product."""


class KVCache:
    """Keys and values of `slots` sequences of up to `max_length` tokens.

    The surface that generation uses::

        cache = KVCache(config, slots=8, max_length=256, dtype=dtype, device=device)
        attend = cache.prefill(slots, lengths)  # prompts laid end to end, no padding
        hidden_ND = decoder(ids_N, attend.position_N, attend)  # N = sum(lengths)
        attend = cache.step(slots)  # one token of each of these slots
        hidden_BD = decoder(ids_B, attend.position_N, attend)
        cache.copy(0, [1, 2, 3], length)  # one prompt's prefix to k slots
        cache.length(slot)  # tokens that a slot holds

    `prefill` starts its slots anew, so that a finished row is refilled by prefilling its slot while
    the others keep theirs. An attend is good for one forward pass of the whole decoder. Steps
    are cheapest when their slots are neighbours in rising order (a view instead of a copy): move
    the last live row into a finished one's place with `copy`.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        max_length: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        if config.position == "learned" and max_length > config.max_position_embeddings:
            raise AccordError(
                f"A cache of {max_length} positions is longer than the model's "
                f"{config.max_position_embeddings} learned positions.",
                fix="Shorten the prompt or lower max_new_tokens.",
            )
        self.max_length, self._heads = max_length, config.kv_heads
        # the CPU's library copies whatever it multiplies in half precision that is not closely
        # packed, so there the cache is as wide as its longest row and grows
        self._packed = dtype.itemsize == 2 and torch.device(device).type == "cpu"
        self._width = min(TILE, max_length) if self._packed else max_length
        shape = (2, slots, config.kv_heads, self._width, config.head_size)
        self._kept_L2BKTd = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)
        ]
        # where each slot's keys and values begin, in rows of a layer's memory that are `width` long
        begin_2BK = torch.arange(2 * slots * config.kv_heads, device=device).view(2, slots, -1)
        self._begin_B2K = begin_2BK.transpose(0, 1).flatten(1).contiguous()
        self._column_T = torch.arange(max_length, device=device)
        self._seen = torch.zeros((), dtype=dtype, device=device)
        self._unseen = torch.full((), -torch.inf, dtype=dtype, device=device)
        self._lengths = [0] * slots

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        return self._lengths[slot]

    def prefill(self, slots_B: Sequence[int], lengths_B: Sequence[int]) -> "Prefill":
        """An attend that starts these slots with prompts of these lengths, laid end to end.

        Raises:
            AccordError: A prompt is longer than the cache.
        """
        lengths = [int(length) for length in lengths_B]
        self._fit(max(lengths))
        rows = [int(slot) for slot in slots_B]
        for slot, length in zip(rows, lengths, strict=True):
            self._lengths[slot] = length
        return Prefill(self, rows, lengths)

    def step(self, slots_B: Sequence[int]) -> "Step":
        """An attend that adds one token to each of these slots.

        Raises:
            AccordError: A slot is full.
        """
        rows = [int(slot) for slot in slots_B]
        before = [self._lengths[slot] for slot in rows]
        self._fit(max(before) + 1)
        for slot in rows:
            self._lengths[slot] += 1
        return Step(self, rows, before)

    def copy(self, source: int, targets: Sequence[int], length: int | None = None) -> None:
        """Give these slots the first `length` tokens of `source` (none: all); theirs are dropped.

        Raises:
            AccordError: `source` holds fewer tokens.
        """
        length = self._lengths[source] if length is None else length
        if length > self._lengths[source]:
            raise AccordError(f"slot {source} holds {self._lengths[source]} tokens, not {length}")
        rows = _rows(list(targets), self._column_T.device)
        for kept_2BKTd in self._kept_L2BKTd:
            kept_2BKTd[:, rows, :, :length] = kept_2BKTd[:, source, None, :, :length]
        for target in targets:
            self._lengths[target] = length

    def _places(self, rows: slice | Tensor, position_N: Tensor) -> Tensor:
        """Where new tokens of these slots go, as rows of a layer's memory: their keys, values."""
        return torch.add(position_N[:, None], self._begin_B2K[rows], alpha=self._width).flatten()

    def _fit(self, length: int) -> None:
        """Make room for rows of `length` tokens."""
        if length > self.max_length:
            raise AccordError(
                f"{length} tokens do not fit a cache of {self.max_length}.",
                fix="Shorten the prompt, lower max_new_tokens or allocate a longer cache.",
            )
        if length <= self._width:
            return
        old, self._width = self._width, min(-(-length // TILE) * TILE, self.max_length)
        for layer, kept_2BKTd in enumerate(self._kept_L2BKTd):
            shape = (*kept_2BKTd.shape[:3], self._width, kept_2BKTd.shape[4])
            self._kept_L2BKTd[layer] = kept_2BKTd.new_zeros(shape)
            self._kept_L2BKTd[layer][..., :old, :] = kept_2BKTd


class Prefill:
    """Causal attention among the prompts' own tokens, which are written to the cache."""

    def __init__(self, cache: KVCache, slots: list[int], lengths: list[int]) -> None:
        device = cache._column_T.device
        self.position_N = torch.cat([torch.arange(length) for length in lengths]).to(device)
        self._kept_L2BKTd = cache._kept_L2BKTd
        self._rows = _rows(slots, device)
        self._plan = Plan.ragged(lengths, device)

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention of every prompt token, [N, H, d]."""
        plan, time = self._plan, self._plan.shape[1]
        q, k, v = (plan.to_grid(x) for x in (q_NHd, k_NKd, v_NKd))
        # what is written past a row's length is masked until the row grows over it
        for kept_BKTd, new in zip(self._kept_L2BKTd[layer], (k, v), strict=True):
            kept_BKTd[self._rows, :, :time] = new
        return plan.to_stream(plan.on_grid(q, k, v, window))


class Step:
    """Attention of one new token a slot to all that the slot holds."""

    def __init__(self, cache: KVCache, slots: list[int], lengths: list[int]) -> None:
        self._cache = cache
        self._rows = _rows(slots, cache._column_T.device)
        self._first, self._last = min(lengths), max(lengths)
        self.position_N = torch.tensor(lengths).to(cache._column_T.device)
        self._place_M = cache._places(self._rows, self.position_N)
        self._bias: dict[int | None, Tensor] = {}

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention of every new token, [N, H, d]."""
        tokens, heads, size = q_NHd.shape
        kept_2BKTd = self._cache._kept_L2BKTd[layer]
        new_Md = torch.cat((k_NKd, v_NKd), 1).view(-1, size)
        kept_2BKTd.view(-1, size).index_copy_(0, self._place_M, new_Md)
        start, stop = self._columns(window)
        keys_RSd, values_RSd = kept_2BKTd[:, self._rows, :, start:stop].flatten(1, 2)
        # the heads of a group are so many queries of their key-value head
        q_RGd = q_NHd.reshape(len(keys_RSd), -1, size)
        if window not in self._bias:
            self._bias[window] = self._masked(window, start, stop)
        # with so few queries plain products beat fused kernels (measured on a CPU: 2 to 10 times)
        scores_RGS = torch.baddbmm(self._bias[window], q_RGd, keys_RSd.mT, alpha=size**-0.5)
        return torch.bmm(scores_RGS.softmax(-1), values_RSd).view(tokens, heads, size)

    def _columns(self, window: int | None) -> tuple[int, int]:
        """The positions that some row sees, widened to whole tiles."""
        cache = self._cache
        stop = cache._width if cache._packed else -(-(self._last + 1) // TILE) * TILE
        first = 0 if window is None else max(0, self._first - window + 1)
        return first // TILE * TILE, min(stop, cache.max_length)

    def _masked(self, window: int | None, start: int, stop: int) -> Tensor:
        """0 where a row sees a column, else -inf: [R, 1, S]."""
        cache, position_N11 = self._cache, self.position_N[:, None, None]
        column_S = cache._column_T[start:stop]
        sees_N1S = column_S <= position_N11
        if window is not None:
            sees_N1S &= column_S > position_N11 - window
        bias_N1S = torch.where(sees_N1S, cache._seen, cache._unseen)
        return bias_N1S.expand(-1, cache._heads, -1).reshape(-1, 1, stop - start)


def _rows(slots: list[int], device: torch.device) -> slice | Tensor:
    neighbours = slots == list(range(slots[0], slots[0] + len(slots)))
    return slice(slots[0], slots[-1] + 1) if neighbours else torch.tensor(slots).to(device)
