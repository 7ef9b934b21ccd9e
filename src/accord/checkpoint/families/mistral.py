"""Mistral: Llama without biases, every layer with the same sliding window."""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.family import Family
from accord.checkpoint.families.llama import (
    DEFAULTS,
    DENSE,
    IGNORED,
    NEEDS,
    NO_BIAS,
    NO_QK_NORM,
    SUPPORTED,
    refusal,
    rules,
    shape_from_hf,
    shape_to_hf,
)
from accord.checkpoint.families.windows import SAME_WINDOW
from accord.config.model import ModelConfig


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    return {**shape_to_hf(config), "sliding_window": config.window(0)}


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    window, layers = hf["sliding_window"], hf["num_hidden_layers"]
    windows = None if window is None else (window,) * layers
    return {**shape_from_hf(hf), "sliding_windows": windows}


MISTRAL = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    scorer="MistralForSequenceClassification",
    base="model.",
    needs=(*NEEDS, DENSE, *NO_BIAS, NO_QK_NORM, SAME_WINDOW),
    rules=rules,
    ignored=IGNORED,
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        **DEFAULTS,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    supported=SUPPORTED,
    refusal=refusal,
)
