"""GPT-2: learned positions, layer norms, one feed-forward product in, one out."""

import re
from collections.abc import Mapping
from typing import Any

from accord.checkpoint.families.family import Family, Need, same
from accord.checkpoint.families.rule import Rule, head, layered, linear
from accord.checkpoint.families.windows import NO_WINDOW
from accord.config.model import ModelConfig


def rules(config: ModelConfig) -> list[Rule]:
    """The tensors of a config."""
    theirs, ours = "transformer.h.{i}.", "layers.{i}."
    qkv = [ours + f"attention.{part}" for part in ("query", "key", "value")]
    layer = [
        *linear(theirs + "ln_1", [ours + "attention_norm"], True),
        # Conv1D: stored as [in, out]
        *linear(theirs + "attn.c_attn", qkv, True, transposed=True),
        *linear(theirs + "attn.c_proj", [ours + "attention.out"], True, transposed=True),
        *linear(theirs + "ln_2", [ours + "mlp_norm"], True),
        *linear(theirs + "mlp.c_fc", [ours + "mlp.up"], True, transposed=True),
        *linear(theirs + "mlp.c_proj", [ours + "mlp.down"], True, transposed=True),
    ]
    return [
        Rule("transformer.wte.weight", ("embedding.weight",)),
        Rule("transformer.wpe.weight", ("position_embedding.weight",)),
        *layered(config, layer),
        *linear("transformer.ln_f", ["norm"], True),
        *head(config),
    ]


def _to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        "n_embd": config.hidden_size,
        "n_inner": config.intermediate_size,
        "n_layer": config.num_hidden_layers,
        "n_head": config.num_attention_heads,
        "n_positions": config.max_position_embeddings,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def _from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": hf["n_embd"],
        "intermediate_size": hf["n_inner"] or 4 * hf["n_embd"],
        "num_hidden_layers": hf["n_layer"],
        "num_attention_heads": hf["n_head"],
        "max_position_embeddings": hf["n_positions"],
        "norm_eps": hf["layer_norm_epsilon"],
        "position": "learned",
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "gated_mlp": False,
        "attention_bias": True,
        "mlp_bias": True,
    }


GPT2 = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    scorer="GPT2ForSequenceClassification",
    base="transformer.",
    needs=(
        same("position", "learned", "positions are learned"),
        same("norm", "layernorm", "norms are layernorm"),
        same("activation", "gelu_tanh", "the activation is gelu_tanh"),
        same("gated_mlp", False, "the feed-forward is not gated"),
        same("attention_bias", True, "attention has biases"),
        same("out_bias", True, "attention has biases"),
        same("qk_norm", False, "queries and keys are not normalised"),
        same("mlp_bias", True, "the feed-forward has biases"),
        Need(
            "num_key_value_heads",
            lambda config: config.kv_heads == config.num_attention_heads,
            "every head has its own keys and values",
        ),
        Need(
            "head_dim",
            lambda config: config.head_size * config.num_attention_heads == config.hidden_size,
            "heads divide the width",
        ),
        NO_WINDOW,
    ),
    rules=rules,
    ignored=re.compile(r"\.attn\.(bias|masked_bias)$"),
    to_hf=_to_hf,
    from_hf=_from_hf,
    defaults={
        "tie_word_embeddings": True,
        "n_inner": None,
        "n_positions": 1024,
        "layer_norm_epsilon": 1e-5,
    },
    supported={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
)
