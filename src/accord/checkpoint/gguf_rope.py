"""Scaled rotations in llama.cpp's words: keys for linear and yarn, a tensor for Llama 3's.

llama.cpp divides a pair's frequency by the tensor's factor, where its architecture reads one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from accord.checkpoint.families.family import Need
from accord.config.model import ModelConfig, RopeScaling
from accord.model.rotary import frequencies

FACTORS = "rope_freqs.weight"
"""What each pair's frequency is divided by, [head_dim / 2]."""
_SCALING = "rope.scaling."
_TYPE, _FACTOR, _LENGTH = (_SCALING + key for key in ("type", "factor", "attn_factor"))
_ORIGINAL = _SCALING + "original_context_length"
SCALING_KEYS = frozenset((_TYPE, _FACTOR, _LENGTH, _ORIGINAL))
"""The keys that `scaling_from_gguf` reads."""
_LOW, _HIGH = 1.0, 4.0
"""Turns that Llama 3 blends between; the factors do not tell others from another length."""
_TOLERANCE = 1e-5


def _by_keys(config: ModelConfig) -> bool:
    return config.rope_scaling is None or config.rope_scaling.rope_type in ("linear", "yarn")


def _told_by_factors(config: ModelConfig) -> bool:
    factors_F = factors(config)
    plain = config.model_copy(update={"rope_scaling": None})
    return factors_F is None or scaled_by(factors_F, plain) == config.rope_scaling


_YARNS_OWN = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}


def _own_bounds(config: ModelConfig) -> bool:
    scaling = config.rope_scaling
    return scaling is None or all(getattr(scaling, k) == v for k, v in _YARNS_OWN.items())


# there are keys for the bounds, but llama.cpp's dense decoders do not look at them
_BOUNDS = Need("rope_scaling", _own_bounds, "yarn blends from 1 to 32 turns, in whole pairs")
BY_KEYS = (
    Need("rope_scaling", _by_keys, "rotations are scaled as by linear, yarn or not"),
    _BOUNDS,
)
"""What an architecture needs that reads no tensor of factors."""
BY_KEYS_OR_FACTORS = (
    Need("rope_scaling", _told_by_factors, "llama3's scaling blends from 1 to 4 turns"),
    _BOUNDS,
)


def scaling_to_gguf(scaling: RopeScaling | None) -> dict[str, Any]:
    """The keys of a scaling, without the architecture's name; none where a tensor says it."""
    if scaling is None or scaling.rope_type == "llama3":
        return {}
    said: dict[str, Any] = {_TYPE: scaling.rope_type, _FACTOR: scaling.factor}
    if scaling.rope_type == "yarn":
        said[_ORIGINAL] = scaling.original_max_position_embeddings
        if scaling.attention_factor is not None:
            # llama.cpp multiplies its own by it
            said[_LENGTH] = scaling.attention_factor / scaling.length()
    return said


def scaling_from_gguf(
    said: Mapping[str, Any], decimal: Callable[[float], float]
) -> dict[str, Any] | None:
    """What `RopeScaling` is given for the keys of an architecture; none where they scale nothing.

    Args:
        said: The keys, without its name.
        decimal: A stored float32 as the number that it was written down as.
    """
    kind = said.get(_TYPE, "none")
    if kind == "none":
        return None
    found = {"rope_type": kind, "factor": decimal(said[_FACTOR])}
    if kind != "yarn":
        return found
    found["original_max_position_embeddings"] = said[_ORIGINAL]
    if _LENGTH in said:
        length = RopeScaling.model_validate(found).length()
        found["attention_factor"] = decimal(said[_LENGTH] * length)
    return found


def factors(config: ModelConfig) -> Tensor | None:
    """`rope_freqs.weight` of a config, float32 [d / 2]; none where keys say all."""
    if _by_keys(config):
        return None
    plain = config.model_copy(update={"rope_scaling": None})
    return frequencies(plain) / frequencies(config)


def scaled_by(factors_F: Tensor, config: ModelConfig) -> RopeScaling | None:
    """The scaling of a config whose file has these factors; none where it is not Llama 3's.

    The largest factor is the whole one; what a blended pair keeps says the original length.
    """
    frequency_F, factor = frequencies(config), round(float(factors_F.max()), 4)
    blended_F = (factors_F > 1 + _TOLERANCE) & (factors_F < factor * (1 - _TOLERANCE))
    if factor <= 1 or not bool(blended_F.any()):
        return None
    kept_F = (1 / factors_F.double() - 1 / factor) / (1 - 1 / factor)
    pair = int(torch.where(blended_F, kept_F, -1.0).argmax())
    turns = _LOW + (_HIGH - _LOW) * float(kept_F[pair])
    original = round(turns * 2 * math.pi / float(frequency_F[pair]))
    scaling = RopeScaling(
        rope_type="llama3",
        factor=factor,
        original_max_position_embeddings=original,
        low_freq_factor=_LOW,
        high_freq_factor=_HIGH,
    )
    again_F = factors(config.model_copy(update={"rope_scaling": scaling}))
    assert again_F is not None
    alike = torch.allclose(again_F, factors_F, rtol=_TOLERANCE, atol=0)
    return scaling if alike else None
