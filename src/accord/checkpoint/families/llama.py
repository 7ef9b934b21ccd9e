"""Llama 2 and 3, and what the families that are built alike share with it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from accord.checkpoint.families.family import Family, Need, same
from accord.checkpoint.families.rope import rope_from_hf, rope_refusal, rope_to_hf
from accord.checkpoint.families.rule import Rule, head, layered, linear
from accord.checkpoint.families.windows import NO_WINDOW, uniform_refusal
from accord.config.model import ModelConfig

THEIRS, OURS = "model.layers.{i}.", "layers.{i}."
IGNORED = re.compile(r"rotary_emb\.inv_freq$")
SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "partial_rotary_factor": (1.0,),
}


def attention_rules(config: ModelConfig) -> list[Rule]:
    """The norms and the attention of a block."""
    bias, theirs, ours = config.attention_bias, THEIRS + "self_attn.", OURS + "attention."
    normed = [
        *linear(theirs + "q_norm", [ours + "query_norm"], False),
        *linear(theirs + "k_norm", [ours + "key_norm"], False),
    ]
    return [
        *linear(THEIRS + "input_layernorm", [OURS + "attention_norm"], False),
        *linear(theirs + "q_proj", [ours + "query"], bias),
        *linear(theirs + "k_proj", [ours + "key"], bias),
        *linear(theirs + "v_proj", [ours + "value"], bias),
        *linear(theirs + "o_proj", [ours + "out"], config.out_bias),
        *(normed if config.qk_norm else ()),
        *linear(THEIRS + "post_attention_layernorm", [OURS + "mlp_norm"], False),
    ]


def trunk_rules(config: ModelConfig, layer: Sequence[Rule]) -> list[Rule]:
    """The tensors of a config whose blocks have these."""
    return [
        Rule("model.embed_tokens.weight", ("embedding.weight",)),
        *layered(config, layer),
        Rule("model.norm.weight", ("norm.weight",)),
        *head(config),
    ]


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    bias = config.mlp_bias
    layer = [
        *attention_rules(config),
        *linear(THEIRS + "mlp.gate_proj", [OURS + "mlp.gate"], bias),
        *linear(THEIRS + "mlp.up_proj", [OURS + "mlp.up"], bias),
        *linear(THEIRS + "mlp.down_proj", [OURS + "mlp.down"], bias),
    ]
    return trunk_rules(config, layer)


def shape_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json that Llama's relatives share."""
    return {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
        **rope_to_hf(config),
    }


def shape_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The way back."""
    return {
        "hidden_size": hf["hidden_size"],
        "intermediate_size": hf["intermediate_size"],
        "num_hidden_layers": hf["num_hidden_layers"],
        "num_attention_heads": hf["num_attention_heads"],
        "num_key_value_heads": hf["num_key_value_heads"],
        "head_dim": hf["head_dim"],
        "max_position_embeddings": hf["max_position_embeddings"],
        "norm_eps": hf["rms_norm_eps"],
        **rope_from_hf(hf),
    }


def refusal(hf: Mapping[str, Any]) -> str | None:
    """Why a config.json of layers that are all alike is not read; none: it is."""
    return rope_refusal(hf) or uniform_refusal(hf)


DEFAULTS: Mapping[str, Any] = {
    "tie_word_embeddings": False,
    "num_key_value_heads": None,
    "head_dim": None,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-6,
}
NEEDS = (
    same("position", "rope", "positions are rotary"),
    same("norm", "rmsnorm", "norms are rmsnorm"),
    same("activation", "silu", "the activation is silu"),
    same("gated_mlp", True, "the feed-forward is gated"),
)
"""What every relative of Llama's needs."""
NO_BIAS = (
    same("attention_bias", False, "attention has no biases"),
    same("out_bias", False, "attention has no biases"),
    same("mlp_bias", False, "the feed-forward has no biases"),
)
DENSE = same("num_experts", None, "feed-forwards are dense")
NO_QK_NORM = same("qk_norm", False, "queries and keys are not normalised")
OUT_AS_IN = Need(
    "attention_out_bias",
    lambda config: config.out_bias == config.attention_bias,
    "all of attention's layers have biases or none",
)


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    biases = {"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}
    return shape_to_hf(config) | biases


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    biases = {"attention_bias": hf["attention_bias"], "mlp_bias": hf["mlp_bias"]}
    return shape_from_hf(hf) | biases


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    scorer="LlamaForSequenceClassification",
    base="model.",
    needs=(*NEEDS, DENSE, OUT_AS_IN, NO_QK_NORM, NO_WINDOW),
    rules=rules,
    ignored=IGNORED,
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        **DEFAULTS,
        "max_position_embeddings": 2048,
        "attention_bias": False,
        "mlp_bias": False,
    },
    # transformers takes no notice of a window here, but for its cache
    supported={**SUPPORTED, "sliding_window": (None,)},
    refusal=refusal,
)
