"""The fused forward pass gives the model's numbers for every family."""

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.config.model import RopeScaling
from accord.model.cache import KVCache
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.rollout.decode import Fused, expresses, plain
from accord.rollout.engine import Engine

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
PROMPTS = [[3], [1, 2, 3, 4, 5, 6, 7], [9, 9, 9, 9], list(range(20)), [9, 9, 9, 9]]
FAMILIES = {
    "llama": ("llama", {}),
    "gpt2": ("gpt2", {}),
    "one key-value head, wide heads": ("llama", {"num_key_value_heads": 1, "head_dim": 14}),
    "windows": ("llama", {"sliding_windows": (6, None), "tie_word_embeddings": False}),
    "layer norm, rotated, biases": (
        "llama",
        {"norm": "layernorm", "attention_bias": True, "mlp_bias": True, "norm_eps": 0.3},
    ),
    "gated gelu, rms norm of a large epsilon": (
        "llama",
        {"activation": "gelu_tanh", "norm_eps": 0.5, "attention_bias": True},
    ),
    "normalised queries and keys, windows": (
        "llama",
        {"qk_norm": True, "num_key_value_heads": 2, "sliding_windows": (6, None)},
    ),
    "normalised queries and keys, learned positions": ("gpt2", {"qk_norm": True}),
    "scaled rotations, biases on all but the output": (
        "llama",
        {
            "attention_bias": True,
            "attention_out_bias": False,
            "rope_scaling": RopeScaling(
                rope_type="yarn", factor=3, original_max_position_embeddings=8
            ),
        },
    ),
    "ungated, learned positions, rms norm": ("gpt2", {"norm": "rmsnorm", "mlp_bias": False}),
}


def model_of(family: str) -> Decoder:
    """A tiny model of which no bias is 0 and no norm's weight is 1."""
    style, changes = FAMILIES[family]
    model = tiny(style, **changes)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_fused_is_the_model_in_float64(family):
    model = model_of(family).double()
    fused = Fused(model)
    ids, position = torch.arange(20), torch.arange(20) % 10
    plan = Plan.dense(2, 10)
    want = model(ids, position, plan)
    torch.testing.assert_close(fused(ids, position, plan), want, atol=1e-6, rtol=0)
    wanted = torch.tensor([9, 3])
    torch.testing.assert_close(fused(ids, position, plan, wanted), want[wanted], atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("slots", [3, 5])
def test_completions_are_the_models(family, slots):
    engine = Engine(model_of(family), TOKENIZER)
    assert isinstance(engine.forward, Fused)
    sampling = SamplingConfig(max_new_tokens=30, temperature=0.9)
    fast = engine.generate(PROMPTS, sampling, range(5), slots)
    engine.forward = plain(engine.model)
    slow = engine.generate(PROMPTS, sampling, range(5), slots)
    for one, other in zip(fast, slow, strict=True):
        assert one.ids == other.ids
        torch.testing.assert_close(one.logps, other.logps, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_bfloat16_is_as_close_to_float32_as_the_model_is(family):
    ids, position, plan = torch.arange(20), torch.arange(20), Plan.dense(1, 20)
    want = model_of(family)(ids, position, plan)
    model = model_of(family).bfloat16()
    fused, slow = Fused(model)(ids, position, plan), model(ids, position, plan)
    assert fused.dtype == torch.bfloat16
    off, slow_off = ((x.float() - want).square().mean().sqrt() for x in (fused, slow))
    assert off <= 1.5 * slow_off  # folded weights are rounded once more


@torch.inference_mode()
def test_refreshing_reuses_the_copies_memory():
    model = tiny("gpt2")
    fused = Fused(model)
    before = fused.layers[0].heads.weight_IO
    model.layers[0].attention.query.weight.mul_(2)
    fused.refresh()
    assert fused.layers[0].heads.weight_IO is before
    cache = KVCache(model.config, 1, 8, torch.float32, "cpu")
    attend = cache.prefill([0], [4])
    want = model(torch.arange(4), torch.arange(4), attend)
    attend = cache.prefill([0], [4])
    got = fused(torch.arange(4), torch.arange(4), attend)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_a_model_of_unknown_parts_is_read_by_itself():
    class Adapted(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    model = tiny("llama")
    query = model.layers[0].attention.query
    model.layers[0].attention.query = Adapted(query.in_features, query.out_features, bias=False)
    assert expresses(tiny("llama"))
    assert not expresses(model)
    engine = Engine(model, TOKENIZER)
    assert not isinstance(engine.forward, Fused)
    [completion] = engine.generate([[1, 2]], SamplingConfig(temperature=0, max_new_tokens=1), [0])
    hidden = model(torch.tensor([1, 2]), torch.arange(2), Plan.dense(1, 2))[-1]
    assert completion.ids == (int(model.logits(hidden)[:27].argmax()),)


def test_a_model_cast_after_the_engine_was_made_is_followed():
    sampling, model = SamplingConfig(max_new_tokens=12), tiny("llama")
    engine = Engine(model, TOKENIZER)
    model.bfloat16()
    want = Engine(tiny("llama").bfloat16(), TOKENIZER).generate(PROMPTS, sampling, range(5))
    assert engine.generate(PROMPTS, sampling, range(5)) == want
