"""Attention: the projections of a block, and the kernel beneath every plan and cache.

Axes: N tokens of the stream, B rows, H heads, K key-value heads, T queries, S keys, d head width.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig
from accord.model.layers import RMSNorm
from accord.model.rotary import Rotary, rotate

SHORT = 512
"""Keys up to which plain products beat the CPU's fused kernel in bfloat16 (measured: at 128 keys
16 ms against 53 ms forward and backward, at 1,024 the fused kernel wins)."""


class Attend(Protocol):
    """Who sees whom: a `Plan` in training, a `KVCache`'s prefill or step in decoding."""

    def __call__(
        self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor, window: int | None
    ) -> Tensor:
        """Attention's output of every token, [N, H, d]."""
        ...


class Attention(nn.Module):
    """Grouped-query attention on a flat stream; who sees whom is left to `attend`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width, bias, size = config.hidden_size, config.attention_bias, config.head_size
        self.query = nn.Linear(width, config.num_attention_heads * size, bias)
        self.key = nn.Linear(width, config.kv_heads * size, bias)
        self.value = nn.Linear(width, config.kv_heads * size, bias)
        self.out = nn.Linear(config.num_attention_heads * size, width, config.out_bias)
        self.query_norm = RMSNorm(size, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(size, config.norm_eps) if config.qk_norm else None
        self.head_size = size
        self.layer = layer
        self.window = config.window(layer)

    def forward(self, x_ND: Tensor, by: Rotary | None, attend: Attend) -> Tensor:
        """Mix tokens, [N, D] to [N, D]; queries and keys are rotated where `by` is given."""
        q_NHd = self.query(x_ND).unflatten(-1, (-1, self.head_size))
        k_NKd = self.key(x_ND).unflatten(-1, (-1, self.head_size))
        v_NKd = self.value(x_ND).unflatten(-1, (-1, self.head_size))
        if self.query_norm is not None and self.key_norm is not None:
            q_NHd, k_NKd = self.query_norm(q_NHd), self.key_norm(k_NKd)
        if by is not None:
            q_NHd, k_NKd = rotate(q_NHd, by), rotate(k_NKd, by)
        return self.out(attend(self.layer, q_NHd, k_NKd, v_NKd, self.window).flatten(1))


def attention(q_BHTd: Tensor, k_BKSd: Tensor, v_BKSd: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v, [B, H, T, d].

    Args:
        q_BHTd: Queries; heads h*H/K to (h+1)*H/K - 1 share key-value head h.
        k_BKSd: Keys.
        v_BKSd: Values.
        bias: 0 where a query sees a key and -inf where not, broadcastable to [B, 1, T, S]; none
            where every query sees every key.
    """
    if _is_short(q_BHTd, k_BKSd):
        return _by_products(q_BHTd, k_BKSd, v_BKSd, bias)
    grouped = q_BHTd.shape[1] != k_BKSd.shape[1]
    return F.scaled_dot_product_attention(q_BHTd, k_BKSd, v_BKSd, bias, enable_gqa=grouped)


def causal_attention(q_BHTd: Tensor, k_BKTd: Tensor, v_BKTd: Tensor) -> Tensor:
    """Attention in which each query sees the keys up to its own, [B, H, T, d]."""
    if _is_short(q_BHTd, k_BKTd):
        sees = torch.ones(q_BHTd.shape[2], q_BHTd.shape[2], dtype=torch.bool, device=q_BHTd.device)
        return _by_products(q_BHTd, k_BKTd, v_BKTd, as_bias(sees.tril(), q_BHTd.dtype))
    grouped = q_BHTd.shape[1] != k_BKTd.shape[1]
    return F.scaled_dot_product_attention(
        q_BHTd, k_BKTd, v_BKTd, is_causal=True, enable_gqa=grouped
    )


def as_bias(sees: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask (true where seen) as what is added to the scores: 0 where seen, -inf where not."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(
        ~sees, float("-inf")
    )


def _is_short(q_BHTd: Tensor, k_BKSd: Tensor) -> bool:
    on_cpu = q_BHTd.device.type == "cpu" and q_BHTd.dtype == torch.bfloat16
    return on_cpu and k_BKSd.shape[2] <= SHORT


def _by_products(q_BHTd: Tensor, k_BKSd: Tensor, v_BKSd: Tensor, bias: Tensor | None) -> Tensor:
    batch, heads, time, size = q_BHTd.shape
    kv_heads = k_BKSd.shape[1]
    # queries of a group stand below each other, so that keys and values are never repeated
    q_BKMd = (q_BHTd * size**-0.5).reshape(batch, kv_heads, heads // kv_heads * time, size)
    scores = (q_BKMd @ k_BKSd.transpose(-1, -2)).view(batch, heads, time, -1)
    if bias is not None:
        scores = scores.add_(bias)
    weights_BKMS = scores.softmax(-1).view(batch, kv_heads, q_BKMd.shape[2], -1)
    return (weights_BKMS @ v_BKSd).view(batch, heads, time, size)
