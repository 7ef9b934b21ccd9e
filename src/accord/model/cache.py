"""Attention in decoding: keys and values kept in slots, each row at its own length.

Axes: L layers, B slots, H query heads, K key-value heads, G queries of a key-value head, T
positions, S positions read, d head width, N tokens of the stream, R = N K products.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.attention import as_bias
from accord.model.plan import Plan

TILE = 32
"""Steps read the cache in multiples of this many positions: a shape that differs at each step would
have the CPU's matrix library plan every product anew, which costs more than the product."""


class KVCache:
    """Keys and values of `slots` sequences of up to `max_length` tokens, allocated once.

    The surface that generation uses::

        cache = KVCache(config, slots=8, max_length=256, dtype=dtype, device=device)
        attend = cache.prefill(slots, lengths)  # prompts laid end to end, no padding
        hidden_ND = decoder(ids_N, attend.position_N, attend)  # N = sum(lengths)
        attend = cache.step(slots)  # one token of each of these slots
        hidden_BD = decoder(ids_B, attend.position_N, attend)
        cache.copy(0, [1, 2, 3])  # one prompt's prefix to k slots
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
        shape = (config.num_hidden_layers, slots, config.kv_heads, max_length, config.head_size)
        # keys stand as the product with queries reads them: bfloat16 is copied otherwise
        self.keys_LBKdT = torch.zeros(shape, dtype=dtype, device=device).mT.contiguous()
        self.values_LBKTd = torch.zeros(shape, dtype=dtype, device=device)
        self.max_length = max_length
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
        self._fits(max(lengths))
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
        self._fits(max(before) + 1)
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
        rows = _rows(list(targets), self.values_LBKTd.device)
        for kept_LBKTd in (self.keys_LBKdT.mT, self.values_LBKTd):
            kept_LBKTd[:, rows, :, :length] = kept_LBKTd[:, source, None, :, :length]
        for target in targets:
            self._lengths[target] = length

    def _fits(self, length: int) -> None:
        if length > self.max_length:
            raise AccordError(
                f"{length} tokens do not fit a cache of {self.max_length}.",
                fix="Shorten the prompt, lower max_new_tokens or allocate a longer cache.",
            )


class Prefill:
    """Causal attention among the prompts' own tokens, which are written to the cache."""

    def __init__(self, cache: KVCache, slots: list[int], lengths: list[int]) -> None:
        device = cache.values_LBKTd.device
        self.position_N = torch.cat([torch.arange(length) for length in lengths]).to(device)
        self._cache = cache
        self._rows = _rows(slots, device)
        self._plan = Plan.ragged(lengths, device)

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention of every prompt token, [N, H, d]."""
        plan, time = self._plan, self._plan.shape[1]
        q, k, v = (plan.to_grid(x) for x in (q_NHd, k_NKd, v_NKd))
        # what is written past a row's length is masked until the row grows over it
        self._cache.keys_LBKdT.mT[layer, self._rows, :, :time] = k
        self._cache.values_LBKTd[layer, self._rows, :, :time] = v
        return plan.to_stream(plan.on_grid(q, k, v, window))


class Step:
    """Attention of one new token a slot to all that the slot holds."""

    def __init__(self, cache: KVCache, slots: list[int], lengths: list[int]) -> None:
        device = cache.values_LBKTd.device
        self.position_N = torch.tensor(lengths).to(device)
        self._cache = cache
        self._rows = _rows(slots, device)
        self._slots = torch.tensor(slots).to(device)
        self._first, self._last = min(lengths), max(lengths)
        self._bias: dict[int | None, Tensor] = {}

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention of every new token, [N, H, d]."""
        keys_BKdT = self._cache.keys_LBKdT[layer]
        values_BKTd = self._cache.values_LBKTd[layer]
        keys_BKdT[self._slots, :, :, self.position_N] = k_NKd
        values_BKTd[self._slots, :, self.position_N] = v_NKd
        start, stop = self._columns(window)
        tokens, heads, size = q_NHd.shape
        products = tokens * k_NKd.shape[1]
        # the heads of a group are so many queries of their key-value head
        q_RGd = q_NHd.reshape(products, -1, size)
        keys_RdS = keys_BKdT[self._rows, ..., start:stop].flatten(0, 1)
        values_RSd = values_BKTd[self._rows, :, start:stop].flatten(0, 1)
        # with so few queries plain products beat fused kernels (measured on a CPU: 2 to 10 times)
        bias_R1S = self._masked(window, k_NKd)
        scores_RGS = torch.baddbmm(bias_R1S, q_RGd, keys_RdS, alpha=size**-0.5)
        return torch.bmm(scores_RGS.softmax(-1), values_RSd).view(tokens, heads, size)

    def _columns(self, window: int | None) -> tuple[int, int]:
        """The positions that some row sees, widened to whole tiles."""
        first = 0 if window is None else max(0, self._first - window + 1)
        stop = -(-(self._last + 1) // TILE) * TILE
        return first // TILE * TILE, min(stop, self._cache.max_length)

    def _masked(self, window: int | None, k_NKd: Tensor) -> Tensor:
        if window not in self._bias:
            start, stop = self._columns(window)
            position_R1 = self.position_N.repeat_interleave(k_NKd.shape[1])[:, None]
            column_S = torch.arange(start, stop, device=position_R1.device)
            sees_RS = column_S <= position_R1
            if window is not None:
                sees_RS &= column_S > position_R1 - window
            self._bias[window] = as_bias(sees_RS, k_NKd.dtype)[:, None]
        return self._bias[window]


def _rows(slots: list[int], device: torch.device) -> slice | Tensor:
    neighbours = slots == list(range(slots[0], slots[0] + len(slots)))
    return slice(slots[0], slots[-1] + 1) if neighbours else torch.tensor(slots).to(device)
