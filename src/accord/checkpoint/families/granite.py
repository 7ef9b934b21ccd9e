"""GraniteMoeSWA: mixtures of experts in which some layers slide and others attend fully.

The class that can say so. It scales what other families do not, so that its multipliers are
written as 1 (attention's as 1/sqrt(head_dim)), and its softmax may leave weight to a sink, which is
written at -1e4 so that it gets none.
"""

from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.experts import (
    NORMALISED,
    ROUTED,
    ROUTING_DEFAULTS,
    Unused,
    routing_from_hf,
    routing_to_hf,
)
from accord.checkpoint.families.family import Family, same
from accord.checkpoint.families.llama import (
    DEFAULTS,
    IGNORED,
    NEEDS,
    NO_QK_NORM,
    OUT_AS_IN,
    SUPPORTED,
    THEIRS,
    attention_rules,
    shape_from_hf,
    shape_to_hf,
    trunk_rules,
)
from accord.checkpoint.families.rope import rope_refusal
from accord.checkpoint.families.rule import Rule
from accord.checkpoint.families.windows import FULL, ONE_SIZE, SLIDING, windows
from accord.config.model import ModelConfig

_SILENT = -1e4
_MOE = THEIRS + "block_sparse_moe."


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    layer = [
        *attention_rules(config),
        Rule(_MOE + "router.weight", ("layers.{i}.mlp.router.weight",)),
        Rule(_MOE + "experts.gate_up_proj", ("layers.{i}.mlp.gate_up.weight",)),
        Rule(_MOE + "experts.down_proj", ("layers.{i}.mlp.down.weight",)),
    ]
    sinks = [
        Unused(
            f"model.layers.{i}.self_attn.sinks",
            (),
            size=config.num_attention_heads,
            value=_SILENT,
            meaning="an attention sink that takes weight from the tokens",
        )
        for i in range(config.num_hidden_layers)
    ]
    return [*trunk_rules(config, layer), *sinks]


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    per_layer = windows(config)
    return {
        **shape_to_hf(config),
        **routing_to_hf(config),
        "intermediate_size": config.expert_size,
        "num_local_experts": config.num_experts,
        "attention_bias": config.attention_bias,
        "layer_types": [SLIDING if window else FULL for window in per_layer],
        "sliding_window": next((window for window in per_layer if window), None),
        "layer_rope_theta": [config.rope_theta] * config.num_hidden_layers,
        "attention_multiplier": config.head_size**-0.5,
        "embedding_multiplier": 1.0,
        "logits_scaling": 1.0,
        "residual_multiplier": 1.0,
        "shared_intermediate_size": 0,
    }


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    size, count = hf["sliding_window"], hf["num_hidden_layers"]
    kinds = hf.get("layer_types") or [SLIDING if i % 4 else FULL for i in range(count)]
    per_layer = tuple(size if kind == SLIDING else None for kind in kinds)
    return {
        **shape_from_hf(hf),
        **routing_from_hf(hf),
        "attention_bias": hf["attention_bias"],
        "sliding_windows": per_layer if any(per_layer) else None,
    }


def _refusal(hf: Mapping[str, Any]) -> str | None:
    head = hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"]
    scale = hf.get("attention_multiplier", 1.0)
    if abs(scale * head**0.5 - 1) > 1e-6:
        return f"attention_multiplier = {scale!r} is not 1/sqrt(head_dim), not supported"
    rope = hf.get("rope_parameters") or {}
    theta = rope.get("rope_theta", hf.get("rope_theta", DEFAULTS["rope_theta"]))
    if set(hf.get("layer_rope_theta") or [theta]) != {theta}:
        return "layer_rope_theta differs by layer, which is not supported"
    strange = set(hf.get("layer_types") or []) - {FULL, SLIDING}
    if strange:
        return f"layer_types names {', '.join(sorted(map(str, strange)))}, which is not supported"
    return rope_refusal(hf)


GRANITE = Family(
    model_type="granitemoe_swa",
    architecture="GraniteMoeSWAForCausalLM",
    # transformers has no such class: a reward model of this family loads here alone
    scorer="GraniteMoeSWAForSequenceClassification",
    base="model.",
    needs=(
        ROUTED,
        *NEEDS,
        OUT_AS_IN,
        NO_QK_NORM,
        NORMALISED,
        ONE_SIZE,
        same("rope_scaling", None, "rotations are not scaled"),
    ),
    rules=rules,
    ignored=IGNORED,
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        **DEFAULTS,
        **ROUTING_DEFAULTS,
        "max_position_embeddings": 2048,
        "num_local_experts": 8,
        "attention_bias": False,
        "sliding_window": 128,
    },
    supported={
        **SUPPORTED,
        "shared_intermediate_size": (0,),
        "embedding_multiplier": (1.0,),
        "logits_scaling": (1.0,),
        "residual_multiplier": (1.0,),
    },
    refusal=_refusal,
)
