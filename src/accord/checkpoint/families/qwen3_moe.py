"""Qwen3-MoE: Qwen3 whose feed-forwards are mixtures of experts, all of them."""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.experts import (
    ROUTED,
    ROUTING_DEFAULTS,
    expert_rules,
    routing_from_hf,
    routing_to_hf,
)
from accord.checkpoint.families.family import Family, same
from accord.checkpoint.families.llama import (
    DEFAULTS,
    IGNORED,
    NEEDS,
    OUT_AS_IN,
    SUPPORTED,
    attention_rules,
    shape_from_hf,
    shape_to_hf,
    trunk_rules,
)
from accord.checkpoint.families.rope import rope_refusal
from accord.checkpoint.families.rule import Rule
from accord.checkpoint.families.windows import NO_WINDOW
from accord.config.model import ModelConfig


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    names = ("gate_proj", "up_proj", "down_proj")
    experts = expert_rules(config, "model.layers.{i}.mlp", "gate", names)
    return [*trunk_rules(config, attention_rules(config)), *experts]


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        **shape_to_hf(config),
        **routing_to_hf(config),
        "attention_bias": config.attention_bias,
        "num_experts": config.num_experts,
        "moe_intermediate_size": config.expert_size,
        "norm_topk_prob": config.norm_topk_prob,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    }


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **shape_from_hf(hf),
        **routing_from_hf(hf),
        "attention_bias": hf["attention_bias"],
        "moe_intermediate_size": hf["moe_intermediate_size"],
        "norm_topk_prob": hf["norm_topk_prob"],
        "qk_norm": True,
    }


def _refusal(hf: Mapping[str, Any]) -> str | None:
    dense = hf.get("mlp_only_layers") or []
    if dense or hf.get("decoder_sparse_step", 1) != 1:
        return "Some layers have one dense feed-forward and others experts, which is not supported"
    return rope_refusal(hf)


QWEN3_MOE = Family(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    scorer="Qwen3MoeForSequenceClassification",
    base="model.",
    needs=(
        ROUTED,
        *NEEDS,
        OUT_AS_IN,
        same("qk_norm", True, "queries and keys are normalised"),
        NO_WINDOW,
    ),
    rules=rules,
    ignored=IGNORED,
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        **DEFAULTS,
        **ROUTING_DEFAULTS,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32_768,
        "attention_bias": False,
        "num_local_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": False,
    },
    supported={**SUPPORTED, "use_sliding_window": (False,)},
    refusal=_refusal,
)
