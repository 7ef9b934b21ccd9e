"""The map to Hugging Face's names and configs: reversible, complete, and loud where it must be."""

from typing import Any

import pytest
import torch

from accord.checkpoint.families import FAMILIES, Rule
from accord.checkpoint.names import SpecialIds, config_from_hf, config_to_hf, family_of
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model import Decoder

SHAPE: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
LLAMA = ModelConfig(**SHAPE)
GPT2 = ModelConfig(**{**PRESETS["gpt2"], **SHAPE})
GROUPED = ModelConfig(
    **SHAPE, num_key_value_heads=2, head_dim=6, tie_word_embeddings=False, attention_bias=True
)
EVERY = pytest.mark.parametrize(
    "config", [LLAMA, GROUPED, GPT2, GPT2.model_copy(update={"tie_word_embeddings": False})]
)


def hf_of(config: ModelConfig, **changed: Any) -> dict[str, Any]:
    return {**config_to_hf(config, SpecialIds(eos=1), "float32"), **changed}


@EVERY
def test_every_weight_has_one_place_and_comes_back(config: ModelConfig) -> None:
    weights = Decoder.init(config, 0).state_dict()
    shapes = {name: weight.shape for name, weight in weights.items()}
    rules = family_of(config).rules(config)
    ours = [name for rule in rules for name in rule.ours]
    assert sorted(ours) == sorted(weights)
    assert len({rule.theirs for rule in rules}) == len(rules)
    for rule in rules:
        packed = rule.pack(weights)
        assert packed.shape == rule.shape(shapes)
        for name, value in rule.unpack(packed, shapes).items():
            assert torch.equal(value, weights[name])


def test_three_matrices_below_each_other_are_stored_side_by_side_when_transposed() -> None:
    rule = Rule("c_attn.weight", ("q", "k"), transposed=True)
    weights = {"q": torch.tensor([[1.0, 2.0]]), "k": torch.tensor([[3.0, 4.0], [5.0, 6.0]])}
    assert rule.pack(weights).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


@EVERY
def test_a_config_comes_back(config: ModelConfig) -> None:
    back = config_from_hf(hf_of(config))
    resolved = {"num_key_value_heads": config.kv_heads, "head_dim": config.head_size}
    wanted = config.model_copy(update=resolved)
    assert back.model_copy(update=resolved) == wanted


def test_both_spellings_of_rope_theta_are_written_and_read() -> None:
    hf = hf_of(LLAMA.model_copy(update={"rope_theta": 500_000.0}))
    assert hf["rope_theta"] == hf["rope_parameters"]["rope_theta"] == 500_000.0
    for key in ("rope_theta", "rope_parameters"):
        assert config_from_hf({k: v for k, v in hf.items() if k != key}).rope_theta == 500_000.0


def test_special_ids_and_dtype_stand_in_the_config() -> None:
    hf = config_to_hf(LLAMA, SpecialIds(bos=1, eos=2, pad=0), "bfloat16")
    assert (hf["bos_token_id"], hf["eos_token_id"], hf["pad_token_id"]) == (1, 2, 0)
    assert hf["dtype"] == "bfloat16"
    assert hf["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (LLAMA.model_copy(update={"position": "learned"}), "llama: position: positions are rotary"),
        (
            LLAMA.model_copy(update={"sliding_windows": (4, None)}),
            "llama: sliding_windows: every layer attends to all positions",
        ),
        (
            GPT2.model_copy(update={"num_key_value_heads": 2}),
            "gpt2: num_key_value_heads: every head has its own keys",
        ),
        (
            GPT2.model_copy(update={"attention_bias": False}),
            "gpt2: attention_bias: attention has biases",
        ),
        (GPT2.model_copy(update={"head_dim": 8}), "gpt2: head_dim: heads divide the width"),
    ],
)
def test_what_no_family_expresses_is_refused_with_the_reason(
    config: ModelConfig, told: str
) -> None:
    with pytest.raises(AccordError, match="No Hugging Face family expresses") as caught:
        config_to_hf(config, SpecialIds(), "float32")
    assert told in caught.value.what


def test_windows_that_see_everything_are_no_windows() -> None:
    assert (
        family_of(LLAMA.model_copy(update={"sliding_windows": (None, None)})) is FAMILIES["llama"]
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model_type": "lama"}, "Unknown model_type 'lama'."),
        ({"model_type": "mamba-9"}, "known: gpt2, granitemoe_swa, llama, mistral"),
        ({"sliding_window": 9}, "llama with sliding_window = 9 is not supported"),
        ({"layer_types": ["sliding_attention"] * 2}, "which transformers ignores in this family"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "needs code of its own"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "Rope scaling 'llama3' lacks its factor"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "Rope scaling 'dynamic' is not suppo"),
        ({"rope_scaling": {"type": "longrope"}}, "rotations change with the length read so far"),
        ({"rope_scaling": {"type": "lnear"}}, "known: default, linear, llama3, yarn"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2, "alpha": 1}},
            "Rope scaling 'linear' with alpha is not supported",
        ),
        ({"rope_parameters": {"full_attention": {}}}, "rope_parameters differ by kind of layer"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor = 0.5",
        ),
        ({"hidden_act": "relu"}, "llama with hidden_act = 'relu' is not supported"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"num_key_value_heads": 3}, "config.json describes no valid model"),
    ],
)
def test_what_accord_cannot_compute_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(AccordError) as caught:
        config_from_hf(hf_of(LLAMA, **changed), "folder/config.json")
    assert told in str(caught.value)
    assert caught.value.where == "folder/config.json"


@pytest.mark.parametrize("key", ["scale_attn_by_inverse_layer_idx", "add_cross_attention"])
def test_gpt2_variants_with_other_sums_are_refused(key: str) -> None:
    with pytest.raises(AccordError, match=f"gpt2 with {key} = True is not supported"):
        config_from_hf(hf_of(GPT2, **{key: True}))


def test_a_missing_key_is_named() -> None:
    hf = hf_of(LLAMA)
    del hf["hidden_size"]
    with pytest.raises(AccordError, match="lacks the key 'hidden_size' that llama needs"):
        config_from_hf(hf)


def test_the_hubs_first_gpt2_config_is_read() -> None:
    # it names neither n_inner nor tie_word_embeddings, and drops out in training
    hub = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "n_ctx": 1024,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "layer_norm_epsilon": 1e-05,
        "vocab_size": 50257,
    }
    config = config_from_hf(hub)
    assert config == ModelConfig(**PRESETS["gpt2-124m"], vocab_size=50257)
