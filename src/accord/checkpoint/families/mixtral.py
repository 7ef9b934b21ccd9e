"""Mixtral: Mistral whose feed-forwards are mixtures of experts."""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.experts import (
    NORMALISED,
    ROUTED,
    ROUTING_DEFAULTS,
    expert_rules,
    routing_from_hf,
    routing_to_hf,
)
from accord.checkpoint.families.family import Family
from accord.checkpoint.families.llama import (
    DEFAULTS,
    IGNORED,
    NEEDS,
    NO_BIAS,
    NO_QK_NORM,
    SUPPORTED,
    attention_rules,
    refusal,
    shape_from_hf,
    shape_to_hf,
    trunk_rules,
)
from accord.checkpoint.families.rule import Rule
from accord.checkpoint.families.windows import SAME_WINDOW
from accord.config.model import ModelConfig


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    experts = expert_rules(config, "model.layers.{i}.block_sparse_moe", "gate", ("w1", "w3", "w2"))
    return [*trunk_rules(config, attention_rules(config)), *experts]


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        **shape_to_hf(config),
        **routing_to_hf(config),
        "intermediate_size": config.expert_size,
        "num_local_experts": config.num_experts,
        "sliding_window": config.window(0),
        "router_jitter_noise": 0.0,
    }


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    window = hf["sliding_window"]
    windows = None if window is None else (window,) * hf["num_hidden_layers"]
    return {**shape_from_hf(hf), **routing_from_hf(hf), "sliding_windows": windows}


MIXTRAL = Family(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    scorer="MixtralForSequenceClassification",
    base="model.",
    needs=(ROUTED, *NEEDS, *NO_BIAS, NO_QK_NORM, NORMALISED, SAME_WINDOW),
    rules=rules,
    ignored=IGNORED,
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        **DEFAULTS,
        **ROUTING_DEFAULTS,
        "num_key_value_heads": 8,
        "rope_theta": 1_000_000.0,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131_072,
        "num_local_experts": 8,
        "sliding_window": None,
    },
    supported=SUPPORTED,
    refusal=refusal,
)
