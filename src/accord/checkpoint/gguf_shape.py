"""What llama.cpp calls a decoder's shape and tensors, one table for reading and for writing.

Every architecture is a row of `ARCHITECTURES`: its keys, its tensors, and what it cannot say.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from accord.checkpoint.families.family import Need, same
from accord.checkpoint.families.llama import DENSE, NEEDS, NO_BIAS, NO_QK_NORM
from accord.checkpoint.families.rule import Rule, linear
from accord.checkpoint.families.windows import NO_WINDOW
from accord.checkpoint.gguf_rope import (
    BY_KEYS,
    BY_KEYS_OR_FACTORS,
    scaling_from_gguf,
    scaling_to_gguf,
)
from accord.checkpoint.gguf_rules import Paired, Share
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError

_THERE, _HERE = "blk.{i}.", "layers.{i}."
_ROUTED = Need("num_experts", lambda c: c.num_experts is not None, "it has experts")
_NORMALISED = same("norm_topk_prob", True, "the weights of a token's experts add up to 1")
_OUT_FREE = Need("attention_out_bias", lambda c: not c.out_bias, "attention's output has no bias")
_SQUARE = Need(
    "head_dim",
    lambda c: c.head_size * c.num_attention_heads == c.hidden_size,
    "heads are as wide together as the model",
)


@dataclass(frozen=True)
class Architecture:
    """How llama.cpp names one kind of decoder.

    Args:
        needs: What a config must be for it to be written so.
        norm: Key of the norm's epsilon.
        paired: Whether queries and keys are stored by rotated pairs.
        fixed: What every config read from it is, whatever the file says.
        experts: Key of an expert's width; none: `feed_forward_length`.
    """

    needs: tuple[Need, ...]
    norm: str = "attention.layer_norm_rms_epsilon"
    paired: bool = False
    fixed: Mapping[str, Any] | None = None
    experts: str | None = None

    def lacks(self, config: ModelConfig) -> list[str]:
        """Why a config cannot be written so; empty if it can."""
        return [f"{need.key}: {need.reason}" for need in self.needs if not need.holds(config)]


_QWEN2 = {"attention_bias": True, "attention_out_bias": False}
_GPT2_NEEDS = tuple(same(key, value, f"it is {value}") for key, value in PRESETS["gpt2"].items())
ARCHITECTURES: Mapping[str, Architecture] = {
    # of experts there may be any number: Mixtral is a llama there
    "llama": Architecture(
        (*NEEDS, *NO_BIAS, NO_QK_NORM, _NORMALISED, NO_WINDOW, *BY_KEYS_OR_FACTORS),
        paired=True
    ),
    "qwen2": Architecture(
        (
            *NEEDS, DENSE, same("attention_bias", True, "queries, keys and values have biases"),
            _OUT_FREE, NO_BIAS[2], NO_QK_NORM, NO_WINDOW, *BY_KEYS, _SQUARE,
        ),
        fixed=_QWEN2,
    ),
    "qwen3": Architecture(
        (
            *NEEDS, DENSE, *NO_BIAS, NO_WINDOW, *BY_KEYS,
            same("qk_norm", True, "queries and keys are normalised"),
        ),
        fixed={"qk_norm": True},
    ),
    "qwen3moe": Architecture(
        (
            *NEEDS, _ROUTED, *NO_BIAS, NO_WINDOW, *BY_KEYS, _NORMALISED,
            same("qk_norm", True, "queries and keys are normalised"),
        ),
        fixed={"qk_norm": True},
        experts="expert_feed_forward_length",
    ),
    "gpt2": Architecture(
        (*_GPT2_NEEDS, DENSE, NO_QK_NORM, NO_WINDOW, _SQUARE,
         Need("num_key_value_heads", lambda c: c.kv_heads == c.num_attention_heads,
              "every head has keys of its own")),
        norm="attention.layer_norm_epsilon",
        fixed=PRESETS["gpt2"],
    ),
}  # fmt: skip
"""By `general.architecture`; the first that can say all of a model writes it."""


def architecture_of(config: ModelConfig) -> str:
    """Name of the architecture that llama.cpp has for a config.

    Raises:
        AccordError: It has none; each one's reasons are named.
    """
    reasons = {name: known.lacks(config) for name, known in ARCHITECTURES.items()}
    found = next((name for name, lacking in reasons.items() if not lacking), None)
    if found is None:
        told = "; ".join(f"{name}: {', '.join(lacking)}" for name, lacking in reasons.items())
        raise AccordError(
            f"llama.cpp has no architecture that is written here for this model ({told}).",
            "gguf",
            "serve the folder with transformers or vLLM, or convert it to int8 or int4",
        )
    return found


def tensor_rules(name: str, config: ModelConfig) -> list[Rule]:
    """All tensors of an architecture, each made of ours."""
    layer = _gpt2_layer() if name == "gpt2" else _layer(ARCHITECTURES[name], config)
    learned = config.position == "learned"
    return [
        *linear("token_embd", ["embedding"], False),
        *(linear("position_embd", ["position_embedding"], False) if learned else ()),
        *_layered(config, layer if config.num_experts is None else layer[:-3]),
        *_experts(config),
        *linear("output_norm", ["norm"], config.norm == "layernorm"),
        *([] if config.tie_word_embeddings else linear("output", ["head"], False)),
    ]


def _layered(config: ModelConfig, layer: Iterable[Rule]) -> list[Rule]:
    """The rules of every block, `{i}` its number; their kind is kept."""
    return [
        replace(rule, theirs=rule.theirs.format(i=i), ours=tuple(o.format(i=i) for o in rule.ours))
        for i in range(config.num_hidden_layers)
        for rule in layer
    ]


def _gpt2_layer() -> list[Rule]:
    qkv = [_HERE + f"attention.{part}" for part in ("query", "key", "value")]
    names = {
        "attn_norm": ["attention_norm"], "attn_output": ["attention.out"],
        "ffn_norm": ["mlp_norm"], "ffn_up": ["mlp.up"], "ffn_down": ["mlp.down"],
    }  # fmt: skip
    rest = [
        rule
        for theirs, ours in names.items()
        for rule in linear(_THERE + theirs, [_HERE + name for name in ours], True)
    ]
    return [*linear(_THERE + "attn_qkv", qkv, True), *rest]


def _layer(known: Architecture, config: ModelConfig) -> list[Rule]:
    """The tensors of a block; the last three are those of a dense feed-forward."""
    normed = {"attn_q_norm": "query_norm", "attn_k_norm": "key_norm"} if config.qk_norm else {}
    return [
        *linear(_THERE + "attn_norm", [_HERE + "attention_norm"], False),
        *_rotated("attn_q", "query", config.num_attention_heads, known, config),
        *_rotated("attn_k", "key", config.kv_heads, known, config),
        *linear(_THERE + "attn_v", [_HERE + "attention.value"], config.attention_bias),
        *linear(_THERE + "attn_output", [_HERE + "attention.out"], False),
        *(
            rule
            for theirs, ours in normed.items()
            for rule in linear(_THERE + theirs, [_HERE + "attention." + ours], False)
        ),
        *linear(_THERE + "ffn_norm", [_HERE + "mlp_norm"], False),
        *linear(_THERE + "ffn_gate", [_HERE + "mlp.gate"], False),
        *linear(_THERE + "ffn_up", [_HERE + "mlp.up"], False),
        *linear(_THERE + "ffn_down", [_HERE + "mlp.down"], False),
    ]


def _rotated(
    theirs: str, ours: str, heads: int, known: Architecture, config: ModelConfig
) -> list[Rule]:
    rules = linear(_THERE + theirs, [_HERE + f"attention.{ours}"], config.attention_bias)
    return [Paired(r.theirs, r.ours, heads=heads) for r in rules] if known.paired else rules


def _experts(config: ModelConfig) -> list[Rule]:
    if config.num_experts is None:
        return []
    found: list[Rule] = []
    for i in range(config.num_hidden_layers):
        there, mlp = f"blk.{i}.ffn_", f"layers.{i}.mlp."
        found += [
            Rule(f"{there}gate_inp.weight", (f"{mlp}router.weight",)),
            Share(f"{there}gate_exps.weight", (f"{mlp}gate_up.weight",), part=0),
            Share(f"{there}up_exps.weight", (f"{mlp}gate_up.weight",), part=1),
            Rule(f"{there}down_exps.weight", (f"{mlp}down.weight",)),
        ]
    return found


def shape_to_gguf(name: str, config: ModelConfig) -> dict[str, Any]:
    """The keys of an architecture's shape, its name before them."""
    known = ARCHITECTURES[name]
    said: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.kv_heads,
        known.norm: config.norm_eps,
        "vocab_size": config.vocab_size,
    }
    if config.position == "rope":
        said |= {
            "attention.key_length": config.head_size,
            "attention.value_length": config.head_size,
            "rope.dimension_count": config.head_size,
            "rope.freq_base": float(config.rope_theta),
            **scaling_to_gguf(config.rope_scaling),
        }
    if config.num_experts is not None:
        said |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            known.experts or "feed_forward_length": config.expert_size,
        }
    return {f"{name}.{key}": value for key, value in said.items()}


def shape_from_gguf(
    name: str, said: Mapping[str, Any], rows: int, tied: bool, decimal: Callable[[float], float]
) -> dict[str, Any]:
    """What `ModelConfig` is given for an architecture's keys, without its name.

    Args:
        name: The architecture.
        said: Its keys.
        rows: Of the embedding.
        tied: Whether there is no head of its own.
        decimal: A stored float32 as the number that it was written down as.

    Raises:
        KeyError: A key is missing.
    """
    known, heads = ARCHITECTURES[name], said["attention.head_count"]
    found: dict[str, Any] = {
        "vocab_size": rows,
        "hidden_size": said["embedding_length"],
        "num_hidden_layers": said["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": said.get("attention.head_count_kv", heads),
        "head_dim": said.get("attention.key_length", said["embedding_length"] // heads),
        "intermediate_size": said["feed_forward_length"],
        "max_position_embeddings": said["context_length"],
        "rope_theta": decimal(said.get("rope.freq_base", 10_000.0)),
        "rope_scaling": scaling_from_gguf(said, decimal),
        "norm_eps": decimal(said[known.norm]),
        "tie_word_embeddings": tied,
        **(known.fixed or {}),
    }
    if said.get("expert_count", 0):
        width = said[known.experts] if known.experts else said["feed_forward_length"]
        found |= {
            "num_experts": said["expert_count"],
            "num_experts_per_tok": said["expert_used_count"],
            "moe_intermediate_size": width,
        }
    return found
