"""Llama 2 and 3: rotary positions, RMS norms, gated feed-forward."""

import re
from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.family import NO_WINDOW, Family, same
from accord.checkpoint.families.rule import Rule, head, layered, linear
from accord.config.model import ModelConfig


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    theirs, ours = "model.layers.{i}.", "layers.{i}."
    attention, mlp = config.attention_bias, config.mlp_bias
    layer = [
        *linear(theirs + "input_layernorm", [ours + "attention_norm"], False),
        *linear(theirs + "self_attn.q_proj", [ours + "attention.query"], attention),
        *linear(theirs + "self_attn.k_proj", [ours + "attention.key"], attention),
        *linear(theirs + "self_attn.v_proj", [ours + "attention.value"], attention),
        *linear(theirs + "self_attn.o_proj", [ours + "attention.out"], attention),
        *linear(theirs + "post_attention_layernorm", [ours + "mlp_norm"], False),
        *linear(theirs + "mlp.gate_proj", [ours + "mlp.gate"], mlp),
        *linear(theirs + "mlp.up_proj", [ours + "mlp.up"], mlp),
        *linear(theirs + "mlp.down_proj", [ours + "mlp.down"], mlp),
    ]
    return [
        Rule("model.embed_tokens.weight", ("embedding.weight",)),
        *layered(config, layer),
        Rule("model.norm.weight", ("norm.weight",)),
        *head(config),
    ]


def _to_hf(config: ModelConfig) -> dict[str, Any]:
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
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "attention_dropout": 0.0,
        # readers before transformers 5 look for the first, those since for the second
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    }


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    rope = hf.get("rope_parameters") or {}
    return {
        "hidden_size": hf["hidden_size"],
        "intermediate_size": hf["intermediate_size"],
        "num_hidden_layers": hf["num_hidden_layers"],
        "num_attention_heads": hf["num_attention_heads"],
        "num_key_value_heads": hf["num_key_value_heads"],
        "head_dim": hf["head_dim"],
        "max_position_embeddings": hf["max_position_embeddings"],
        "rope_theta": rope.get("rope_theta", hf["rope_theta"]),
        "norm_eps": hf["rms_norm_eps"],
        "attention_bias": hf["attention_bias"],
        "mlp_bias": hf["mlp_bias"],
    }


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    scorer="LlamaForSequenceClassification",
    base="model.",
    needs=(
        same("position", "rope", "positions are rotary"),
        same("norm", "rmsnorm", "norms are rmsnorm"),
        same("activation", "silu", "the activation is silu"),
        same("gated_mlp", True, "the feed-forward is gated"),
        NO_WINDOW,
    ),
    rules=rules,
    ignored=re.compile(r"rotary_emb\.inv_freq$"),
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        "tie_word_embeddings": False,
        "num_key_value_heads": None,
        "head_dim": None,
        "max_position_embeddings": 2048,
        "rope_theta": 10_000.0,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "mlp_bias": False,
    },
    supported={"hidden_act": ("silu",), "partial_rotary_factor": (1.0,)},
)
