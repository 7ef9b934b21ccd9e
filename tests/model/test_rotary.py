"""Rotation and its scalings against their formulas in float64."""

import math

import pytest
import torch

from accord.config.model import ModelConfig, RopeScaling
from accord.model.rotary import frequencies, rotary, rotate

THETA, SIZE, ORIGINAL = 10_000.0, 64, 128


def config_of(**scaling: object) -> ModelConfig:
    return ModelConfig(
        vocab_size=8,
        hidden_size=SIZE,
        num_attention_heads=1,
        intermediate_size=4,
        rope_scaling=RopeScaling(**scaling) if scaling else None,  # pyright: ignore
    )


def plain() -> list[float]:
    return [THETA ** (-2 * pair / SIZE) for pair in range(SIZE // 2)]


def test_rotation_turns_each_pair_by_its_angle() -> None:
    config = ModelConfig(
        vocab_size=8, hidden_size=4, num_attention_heads=1, rope_theta=100.0, intermediate_size=4
    )
    by = rotary(torch.tensor([0, 3]), config, torch.float32)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(2, 1, 4)
    turned = rotate(x, by)
    assert torch.equal(turned[0], x[0])  # position 0 turns nothing
    # pairs are (x0, x2) and (x1, x3), turned by 3 and by 3 * 100^(-1/2) = 0.3
    expected = []
    for first, second, angle in ((1.0, 3.0, 3.0), (2.0, 4.0, 0.3)):
        turn = complex(first, second) * complex(math.cos(angle), math.sin(angle))
        expected.append(turn)
    want = [expected[0].real, expected[1].real, expected[0].imag, expected[1].imag]
    assert turned[1, 0].tolist() == pytest.approx(want, abs=1e-6)


def test_linear_scaling_divides_every_position() -> None:
    scaled = frequencies(config_of(rope_type="linear", factor=4))
    assert scaled.tolist() == pytest.approx([f / 4 for f in plain()], rel=1e-6)


def test_llama3_leaves_short_wavelengths_and_slows_long_ones() -> None:
    config = config_of(
        rope_type="llama3", factor=8, original_max_position_embeddings=ORIGINAL, high_freq_factor=5
    )
    want = []
    for f in plain():
        turns = ORIGINAL * f / (2 * math.pi)
        kept = min(1.0, max(0.0, (turns - 1) / (5 - 1)))
        want.append(kept * f + (1 - kept) * f / 8)
    found = frequencies(config).tolist()
    assert found == pytest.approx(want, rel=1e-6)
    # all three kinds are there
    ratios = [a / b for a, b in zip(found, plain(), strict=True)]
    assert ratios[0] == pytest.approx(1) and ratios[-1] == pytest.approx(1 / 8)
    assert any(0.2 < ratio < 0.9 for ratio in ratios)


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_slows_past_a_ramp_and_lengthens(truncate: bool) -> None:
    config = config_of(
        rope_type="yarn", factor=4, original_max_position_embeddings=ORIGINAL, truncate=truncate
    )

    def pair_of(turns: float) -> float:
        # where ORIGINAL * theta^(-2 pair / SIZE) / (2 pi) is `turns`
        return SIZE / 2 * math.log(ORIGINAL / (2 * math.pi * turns)) / math.log(THETA)

    low, high = pair_of(32), pair_of(1)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low = max(low, 0)
    want = []
    for pair, f in enumerate(plain()):
        slowed = min(1.0, max(0.0, (pair - low) / (high - low)))
        want.append((1 - slowed) * f + slowed * f / 4)
    assert frequencies(config).tolist() == pytest.approx(want, rel=1e-6)
    by = rotary(torch.tensor([0, 5]), config, torch.float32)
    length = 0.1 * math.log(4) + 1
    assert by.cos[0].flatten().tolist() == pytest.approx([length] * (SIZE // 2))
    assert (by.cos**2 + by.sin**2)[1].flatten().tolist() == pytest.approx([length**2] * (SIZE // 2))


def test_an_attention_factor_stands_in_for_the_formulas() -> None:
    config = config_of(
        rope_type="yarn", factor=4, original_max_position_embeddings=ORIGINAL, attention_factor=1.5
    )
    assert float(rotary(torch.tensor([0]), config, torch.float32).cos[0, 0, 0]) == 1.5


def test_a_scaling_by_one_changes_nothing() -> None:
    for kind in ("linear", "llama3", "yarn"):
        config = config_of(rope_type=kind, factor=1, original_max_position_embeddings=ORIGINAL)
        torch.testing.assert_close(frequencies(config), frequencies(config_of()), rtol=1e-6, atol=0)


def test_a_scaling_without_what_it_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="llama3 needs original_max_position_embeddings"):
        config_of(rope_type="llama3", factor=2)
    with pytest.raises(ValueError, match="low_freq_factor must be below"):
        config_of(rope_type="linear", factor=2, low_freq_factor=4)
    with pytest.raises(ValueError, match="position is not 'rope'"):
        ModelConfig(
            vocab_size=8, position="learned", rope_scaling=RopeScaling(rope_type="linear", factor=2)
        )
