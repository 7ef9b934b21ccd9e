"""Scaled rotations in GGUF: what llama.cpp would turn by, and the way back."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.checkpoint.gguf_rope import factors, scaled_by, scaling_from_gguf, scaling_to_gguf
from accord.checkpoint.gguf_shape import architecture_of
from accord.config.model import ModelConfig, RopeScaling
from accord.errors import AccordError
from accord.model.rotary import frequencies

LLAMA31 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def shape(scaling: dict[str, Any] | None, **more: Any) -> ModelConfig:
    given = {"vocab_size": 9, "head_dim": 128, "rope_theta": 5e5, **more}
    return ModelConfig.model_validate({**given, "rope_scaling": scaling})


def decimal(value: float) -> float:
    return float(str(torch.tensor(value).numpy()))


def test_factors_of_llama_3_1_by_hand() -> None:
    found = factors(shape(LLAMA31))
    assert found is not None and found.shape == (64,) and found.dtype == torch.float32
    for pair in range(64):
        wavelength = 2 * math.pi * 5e5 ** (2 * pair / 128)
        turns = 8192 / wavelength
        if turns > 4:
            wanted = 1.0
        elif turns < 1:
            wanted = 8.0
        else:
            blend = (turns - 1) / (4 - 1)
            wanted = 1 / ((1 - blend) / 8 + blend)
        assert float(found[pair]) == pytest.approx(wanted, rel=1e-5)
    # 28 pairs as they were, 29 slowed in full: what Meta's file has
    assert (int((found == 1).sum()), int((found > 7.999).sum())) == (29, 29)


@settings(deadline=None, max_examples=60)
@given(
    half=st.integers(16, 64),
    theta=st.sampled_from([1e4, 1e5, 5e5, 1e6]),
    factor=st.sampled_from([1.5, 2.0, 4.0, 8.0, 32.0]),
    original=st.integers(64, 8192),
)
def test_factors_tell_the_scaling_that_made_them(
    half: int, theta: float, factor: float, original: int
) -> None:
    scaling = {**LLAMA31, "factor": factor, "original_max_position_embeddings": original}
    config = shape(scaling, head_dim=2 * half, rope_theta=theta)
    found, plain = factors(config), config.model_copy(update={"rope_scaling": None})
    assert found is not None
    back = scaled_by(found, plain)
    if back is None:  # no pair was slowed in full: its factor is not told, and it is not written
        assert float(found.max()) < factor * (1 - 1e-5)
    else:
        again = frequencies(plain.model_copy(update={"rope_scaling": back}))
        torch.testing.assert_close(again, frequencies(config), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 2.5},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
        {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256,
            "attention_factor": 1.3,
        },
    ],
    ids=["linear", "yarn", "yarn of its own"],
)  # fmt: skip
def test_keys_come_back(scaling: dict[str, Any]) -> None:
    config = shape(scaling)
    assert config.rope_scaling is not None and factors(config) is None
    # as float32, which the file holds
    said = {
        key: float(torch.tensor(value)) if isinstance(value, float) else value
        for key, value in scaling_to_gguf(config.rope_scaling).items()
    }
    assert RopeScaling.model_validate(scaling_from_gguf(said, decimal)) == config.rope_scaling


def test_factors_that_are_no_scaling_of_llama_3s_are_told_apart() -> None:
    plain = shape(None)
    found = factors(shape(LLAMA31))
    assert found is not None
    for wrong in (torch.ones(64), found.flip(0), found * 1.01, found.clamp(max=7.0), 1 / found):
        assert scaled_by(wrong, plain) is None


REFUSED = {
    "other turns": ({**LLAMA31, "low_freq_factor": 2.0}, {}, "blends from 1 to 4 turns"),
    "bounds between rotations": (
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 256,
            "truncate": False,
        },
        {},
        "whole pairs",
    ),
    "bounds of its own": (
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 256,
            "beta_fast": 16.0,
        },
        {},
        "from 1 to 32 turns",
    ),
    "factors elsewhere": (LLAMA31, {"qk_norm": True}, "qwen3: rope_scaling: rotations are scaled"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_would_turn_otherwise_is_refused(name: str) -> None:
    scaling, more, reason = REFUSED[name]
    with pytest.raises(AccordError, match=reason):
        architecture_of(shape(scaling, **more))


def test_plain_rotations_say_nothing() -> None:
    assert scaling_to_gguf(None) == {}
    assert scaling_from_gguf({"rope.scaling.type": "none"}, decimal) is None
