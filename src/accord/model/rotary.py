"""Rotary positions: the angles by which queries and keys are turned, plain or scaled.

Axes: N tokens of the stream, H heads, d width of a head, F its d/2 frequencies.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from accord.config.model import ModelConfig, RopeScaling


class Rotary(NamedTuple):
    """Cosines and sines of a stream's positions, [N, 1, d/2] each."""

    cos: Tensor
    sin: Tensor


def rotary(position_N: Tensor, config: ModelConfig, dtype: torch.dtype) -> Rotary:
    """Angles position * frequency, made once a forward pass (arXiv 2104.09864, eq. 34).

    Computed from the positions rather than read from a table: the model then has no buffer that a
    cast, a shard or a longer context could spoil.
    """
    frequency_F = frequencies(config, position_N.device)
    angle_N1F = (position_N.float()[:, None] * frequency_F)[:, None, :]
    length = _length(config.rope_scaling)
    cos_N1F, sin_N1F = angle_N1F.cos() * length, angle_N1F.sin() * length
    return Rotary(cos_N1F.to(dtype), sin_N1F.to(dtype))


def rotate(x_NHd: Tensor, by: Rotary) -> Tensor:
    """Rotate the pairs (x_i, x_{i + d/2}) of each head by the token's angles."""
    first, second = x_NHd.chunk(2, dim=-1)
    return torch.cat((first * by.cos - second * by.sin, second * by.cos + first * by.sin), dim=-1)


def frequencies(config: ModelConfig, device: torch.device | str = "cpu") -> Tensor:
    """Radians a position of each pair, theta^(-2i/d) before scaling, float32 [d/2]."""
    size, scaling = config.head_size, config.rope_scaling
    pair_F = torch.arange(0, size, 2, dtype=torch.float32, device=device)
    wavelength_F = config.rope_theta ** (pair_F / size)
    if scaling is None:
        return 1.0 / wavelength_F
    if scaling.rope_type == "linear":
        return 1.0 / wavelength_F / scaling.factor
    if scaling.rope_type == "llama3":
        return _llama3(1.0 / wavelength_F, scaling)
    return _yarn(wavelength_F, scaling, config.rope_theta)


def _llama3(frequency_F: Tensor, scaling: RopeScaling) -> Tensor:
    """Slow what turns rarely within the original length, blend what is between (Llama 3.1)."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns_F = _original(scaling) / (2 * math.pi / frequency_F)
    kept_F = ((turns_F - low) / (high - low)).clamp(0, 1)
    return (1 - kept_F) * frequency_F / scaling.factor + kept_F * frequency_F


def _yarn(wavelength_F: Tensor, scaling: RopeScaling, theta: float) -> Tensor:
    """Slow the pairs past a ramp between two numbers of turns (arXiv 2309.00071, sec. 3.2)."""
    pairs = len(wavelength_F)

    def pair_of(turns: float) -> float:
        reach = math.log(_original(scaling) / (turns * 2 * math.pi))
        return pairs * reach / math.log(theta)

    low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    pair_F = torch.arange(pairs, dtype=torch.float32, device=wavelength_F.device)
    # a ramp of no width is a step
    slowed_F = ((pair_F - low) / ((high - low) or 0.001)).clamp(0, 1)
    kept_F = 1 - slowed_F
    # in the order of Hugging Face's operations: far out, one bit of a frequency moves the logits
    slow_F, plain_F = 1.0 / (scaling.factor * wavelength_F), 1.0 / wavelength_F
    return slow_F * (1 - kept_F) + plain_F * kept_F


def _original(scaling: RopeScaling) -> int:
    assert scaling.original_max_position_embeddings is not None
    return scaling.original_max_position_embeddings


def _length(scaling: RopeScaling | None) -> float:
    """What turned queries and keys are multiplied by."""
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    return scaling.length() if scaling.attention_factor is None else scaling.attention_factor
