"""The model families Accord reads and writes: how Hugging Face names and stores each, a row each.

A new family is one more `Family` in `FAMILIES`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.config.model import ModelConfig


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs: some of ours below each other, stored transposed or not."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    def shape(self, shapes: Mapping[str, torch.Size]) -> torch.Size:
        """Shape of their tensor, given the shapes of ours."""
        first = shapes[self.ours[0]]
        whole = (sum(shapes[name][0] for name in self.ours), *first[1:])
        return torch.Size(whole[::-1] if self.transposed else whole)

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor, made of ours."""
        parts = [weights[name] for name in self.ours]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.T if self.transposed else whole

    def unpack(self, theirs: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Our tensors, cut from theirs."""
        whole = theirs.T if self.transposed else theirs
        parts = whole.split([shapes[name][0] for name in self.ours])
        return dict(zip(self.ours, parts, strict=True))


@dataclass(frozen=True)
class Need:
    """A value that a config must have for a family to express it, and why."""

    key: str
    holds: Callable[[ModelConfig], bool]
    reason: str


@dataclass(frozen=True)
class Family:
    """How Hugging Face writes one family of decoders.

    Args:
        model_type: Its `model_type` in config.json.
        architecture: Its class with a language-model head.
        scorer: Its class with a head for labels.
        base: What names start with in a folder that has the head, and not in one without.
        needs: What a config must be for this family to express it.
        rules: The tensors of a config, all of them.
        ignored: Tensors of old folders that hold no weight.
        to_hf: The family's own keys of config.json.
        from_hf: The way back, given a config.json with its defaults filled in.
        defaults: Values that config.json may leave out.
        supported: Keys whose other values would change the logits, and the values read here.
    """

    model_type: str
    architecture: str
    scorer: str
    base: str
    needs: tuple[Need, ...]
    rules: Callable[[ModelConfig], list[Rule]]
    ignored: re.Pattern[str]
    to_hf: Callable[[ModelConfig], dict[str, Any]]
    from_hf: Callable[[Mapping[str, Any]], dict[str, Any]]
    defaults: Mapping[str, Any]
    supported: Mapping[str, tuple[Any, ...]]

    def lacks(self, config: ModelConfig) -> list[str]:
        """Why the family cannot express a config; empty if it can."""
        return [f"{need.key}: {need.reason}" for need in self.needs if not need.holds(config)]

    def full_name(self, name: str) -> str:
        """A stored name as it stands in a folder with a head."""
        bare = not name.startswith((self.base, "lm_head.", "score."))
        return self.base + name if bare else name

    def is_ignored(self, name: str, config: ModelConfig) -> bool:
        """Whether a stored tensor carries no weight (a mask, a second copy of a tied head)."""
        if name == "lm_head.weight":
            return config.tie_word_embeddings
        return self.ignored.search(name) is not None


def _layered(config: ModelConfig, rules: Iterable[Rule]) -> list[Rule]:
    return [
        Rule(
            rule.theirs.format(i=i), tuple(ours.format(i=i) for ours in rule.ours), rule.transposed
        )
        for i in range(config.num_hidden_layers)
        for rule in rules
    ]


def _linear(theirs: str, ours: Sequence[str], bias: bool, transposed: bool = False) -> list[Rule]:
    weights = [Rule(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), transposed)]
    biases = [Rule(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours))]
    return weights + biases if bias else weights


def _head(config: ModelConfig) -> list[Rule]:
    return [] if config.tie_word_embeddings else [Rule("lm_head.weight", ("head.weight",))]


def _llama_rules(config: ModelConfig) -> list[Rule]:
    theirs, ours = "model.layers.{i}.", "layers.{i}."
    attention, mlp = config.attention_bias, config.mlp_bias
    layer = [
        *_linear(theirs + "input_layernorm", [ours + "attention_norm"], False),
        *_linear(theirs + "self_attn.q_proj", [ours + "attention.query"], attention),
        *_linear(theirs + "self_attn.k_proj", [ours + "attention.key"], attention),
        *_linear(theirs + "self_attn.v_proj", [ours + "attention.value"], attention),
        *_linear(theirs + "self_attn.o_proj", [ours + "attention.out"], attention),
        *_linear(theirs + "post_attention_layernorm", [ours + "mlp_norm"], False),
        *_linear(theirs + "mlp.gate_proj", [ours + "mlp.gate"], mlp),
        *_linear(theirs + "mlp.up_proj", [ours + "mlp.up"], mlp),
        *_linear(theirs + "mlp.down_proj", [ours + "mlp.down"], mlp),
    ]
    return [
        Rule("model.embed_tokens.weight", ("embedding.weight",)),
        *_layered(config, layer),
        Rule("model.norm.weight", ("norm.weight",)),
        *_head(config),
    ]


def _llama_to_hf(config: ModelConfig) -> dict[str, Any]:
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


def _llama_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
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


def _gpt2_rules(config: ModelConfig) -> list[Rule]:
    theirs, ours = "transformer.h.{i}.", "layers.{i}."
    qkv = [ours + f"attention.{part}" for part in ("query", "key", "value")]
    layer = [
        *_linear(theirs + "ln_1", [ours + "attention_norm"], True),
        # Conv1D: stored as [in, out]
        *_linear(theirs + "attn.c_attn", qkv, True, transposed=True),
        *_linear(theirs + "attn.c_proj", [ours + "attention.out"], True, transposed=True),
        *_linear(theirs + "ln_2", [ours + "mlp_norm"], True),
        *_linear(theirs + "mlp.c_fc", [ours + "mlp.up"], True, transposed=True),
        *_linear(theirs + "mlp.c_proj", [ours + "mlp.down"], True, transposed=True),
    ]
    return [
        Rule("transformer.wte.weight", ("embedding.weight",)),
        Rule("transformer.wpe.weight", ("position_embedding.weight",)),
        *_layered(config, layer),
        *_linear("transformer.ln_f", ["norm"], True),
        *_head(config),
    ]


def _gpt2_to_hf(config: ModelConfig) -> dict[str, Any]:
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


def _gpt2_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
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


def _is(key: str, value: Any, reason: str) -> Need:
    return Need(key, lambda config: getattr(config, key) == value, reason)


def _sees_all(config: ModelConfig) -> bool:
    return all(config.window(layer) is None for layer in range(config.num_hidden_layers))


_NO_WINDOW = Need("sliding_windows", _sees_all, "every layer attends to all positions")

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="llama",
            architecture="LlamaForCausalLM",
            scorer="LlamaForSequenceClassification",
            base="model.",
            needs=(
                _is("position", "rope", "positions are rotary"),
                _is("norm", "rmsnorm", "norms are rmsnorm"),
                _is("activation", "silu", "the activation is silu"),
                _is("gated_mlp", True, "the feed-forward is gated"),
                _NO_WINDOW,
            ),
            rules=_llama_rules,
            ignored=re.compile(r"rotary_emb\.inv_freq$"),
            to_hf=_llama_to_hf,
            from_hf=_llama_from_hf,
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
        ),
        Family(
            model_type="gpt2",
            architecture="GPT2LMHeadModel",
            scorer="GPT2ForSequenceClassification",
            base="transformer.",
            needs=(
                _is("position", "learned", "positions are learned"),
                _is("norm", "layernorm", "norms are layernorm"),
                _is("activation", "gelu_tanh", "the activation is gelu_tanh"),
                _is("gated_mlp", False, "the feed-forward is not gated"),
                _is("attention_bias", True, "attention has biases"),
                _is("mlp_bias", True, "the feed-forward has biases"),
                Need(
                    "num_key_value_heads",
                    lambda config: config.kv_heads == config.num_attention_heads,
                    "every head has its own keys and values",
                ),
                Need(
                    "head_dim",
                    lambda config: (
                        config.head_size * config.num_attention_heads == config.hidden_size
                    ),
                    "heads divide the width",
                ),
                _NO_WINDOW,
            ),
            rules=_gpt2_rules,
            ignored=re.compile(r"\.attn\.(bias|masked_bias)$"),
            to_hf=_gpt2_to_hf,
            from_hf=_gpt2_from_hf,
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
        ),
    )
}
"""The families Accord reads and writes, by `model_type`."""
