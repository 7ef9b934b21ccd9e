"""Parameter counts: the published ones, and those of the models themselves."""

import pytest

from accord.config.model import PRESETS, ModelConfig
from accord.config.parameters import count_parameters
from accord.model.decoder import Decoder

KEURAL = ModelConfig(
    vocab_size=131_072,
    hidden_size=4096,
    num_hidden_layers=24,
    num_attention_heads=32,
    num_key_value_heads=8,
    intermediate_size=5632,
    num_experts=8,
    num_experts_per_tok=2,
    max_position_embeddings=4096,
)


def test_the_mixture_of_14_billion_has_its_published_counts() -> None:
    total, active = count_parameters(KEURAL)
    assert total == 14_832_046_080
    assert round(active / 1e9, 2) == 4.87
    chat = KEURAL.model_copy(update={"vocab_size": 131_074})
    assert count_parameters(chat).total - total == 8192


def test_gpt2_has_its_published_count() -> None:
    gpt2 = ModelConfig.model_validate({"vocab_size": 50_257, **PRESETS["gpt2-124m"]})
    assert count_parameters(gpt2) == (124_439_808, 124_439_808)


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"tie_word_embeddings": False, "num_key_value_heads": 2, "head_dim": 24},
        PRESETS["gpt2"],
        {"attention_bias": True, "attention_out_bias": False, "qk_norm": True, "mlp_bias": True},
        {"num_experts": 5, "moe_intermediate_size": 12},
    ],
    ids=["plain", "untied", "gpt2", "biases", "experts"],
)
def test_a_count_is_that_of_the_model(shape: dict[str, object]) -> None:
    config = ModelConfig.model_validate(
        {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 40, **shape}
    )
    decoder = Decoder.empty(config, device="meta")
    assert count_parameters(config).total == sum(p.numel() for p in decoder.parameters())
