"""Qwen2 (biases on queries, keys and values) and Qwen3 (normalised queries and keys)."""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.family import Family, Need, same
from accord.checkpoint.families.llama import (
    DEFAULTS,
    DENSE,
    IGNORED,
    NEEDS,
    NO_QK_NORM,
    OUT_AS_IN,
    SUPPORTED,
    rules,
    shape_from_hf,
    shape_to_hf,
)
from accord.checkpoint.families.rope import rope_refusal
from accord.checkpoint.families.windows import (
    ONE_SIZE,
    layered_from_hf,
    layered_refusal,
    layered_to_hf,
)
from accord.config.model import ModelConfig

QWEN_DEFAULTS: Mapping[str, Any] = {
    **DEFAULTS,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def _qwen2_to_hf(config: ModelConfig) -> dict[str, Any]:
    return {**shape_to_hf(config), **layered_to_hf(config)}


def _qwen2_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    biases = {"attention_bias": True, "attention_out_bias": False}
    return {**shape_from_hf(hf), **layered_from_hf(hf), **biases}


def _qwen3_to_hf(config: ModelConfig) -> dict[str, Any]:
    return {**_qwen2_to_hf(config), "attention_bias": config.attention_bias}


def _qwen3_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    own = {"attention_bias": hf["attention_bias"], "qk_norm": True}
    return {**shape_from_hf(hf), **layered_from_hf(hf), **own}


def refusal(hf: Mapping[str, Any]) -> str | None:
    """Why a config.json of Qwen's is not read; none: it is."""
    return rope_refusal(hf) or layered_refusal(hf)


QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    scorer="Qwen2ForSequenceClassification",
    base="model.",
    needs=(
        *NEEDS,
        DENSE,
        same("attention_bias", True, "queries, keys and values have biases"),
        same("out_bias", False, "attention's output has no bias"),
        same("mlp_bias", False, "the feed-forward has no biases"),
        NO_QK_NORM,
        Need(
            "head_dim",
            lambda config: config.head_size * config.num_attention_heads == config.hidden_size,
            "heads divide the width",
        ),
        ONE_SIZE,
    ),
    rules=rules,
    ignored=IGNORED,
    to_hf=_qwen2_to_hf,
    from_hf=_qwen2_from_hf,
    defaults=QWEN_DEFAULTS,
    supported=SUPPORTED,
    refusal=refusal,
)
QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    scorer="Qwen3ForSequenceClassification",
    base="model.",
    needs=(
        *NEEDS,
        DENSE,
        OUT_AS_IN,
        same("mlp_bias", False, "the feed-forward has no biases"),
        same("qk_norm", True, "queries and keys are normalised"),
        ONE_SIZE,
    ),
    rules=rules,
    ignored=IGNORED,
    to_hf=_qwen3_to_hf,
    from_hf=_qwen3_from_hf,
    defaults={**QWEN_DEFAULTS, "head_dim": 128, "attention_bias": False},
    supported=SUPPORTED,
    refusal=refusal,
)
