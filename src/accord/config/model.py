"""The shape of a decoder: one description for every family Accord can build or load."""

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Strict
from accord.errors import did_you_mean


class RopeScaling(Strict):
    """How rotations are slowed down so that a model reads further than it was first trained on."""

    rope_type: Literal["linear", "llama3", "yarn"]
    """linear: all rotations slower by `factor`; llama3 and yarn: only those of long wavelengths."""
    factor: float = Field(ge=1)
    """How many times slower; the context grows about as many times."""
    original_max_position_embeddings: int | None = Field(default=None, gt=0)
    """Longest sequence before the scaling; llama3 and yarn need it."""
    low_freq_factor: float = Field(default=1.0, gt=0)
    """llama3: rotations that turn fewer times than this within the original length are slowed."""
    high_freq_factor: float = Field(default=4.0, gt=0)
    """llama3: those that turn more often than this are left as they are."""
    beta_fast: float = Field(default=32.0, gt=0)
    """yarn: rotations that turn more often than this within the original length are left."""
    beta_slow: float = Field(default=1.0, gt=0)
    """yarn: those that turn fewer times are slowed in full."""
    truncate: bool = True
    """yarn: round the bounds between left and slowed to whole rotations."""
    attention_factor: float | None = Field(default=None, gt=0)
    """yarn: what queries and keys are multiplied by; none: 0.1 ln(factor) + 1."""

    def length(self, weight: float = 1.0) -> float:
        """What yarn multiplies queries and keys by (arXiv 2309.00071, eq. 22)."""
        return 0.1 * weight * math.log(self.factor) + 1.0

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.rope_type != "linear" and self.original_max_position_embeddings is None:
            raise ValueError(f"rope_type {self.rope_type} needs original_max_position_embeddings")
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")
        return self


class ModelConfig(Strict):
    """A decoder-only transformer, in Hugging Face's words where it has them."""

    vocab_size: int = Field(gt=0)
    """Rows of the embedding; rows past the tokenizer's last id are padding and never sampled."""
    hidden_size: int = Field(default=256, gt=0)
    """Width of the residual stream."""
    num_hidden_layers: int = Field(default=4, gt=0)
    """Blocks of attention and feed-forward."""
    num_attention_heads: int = Field(default=4, gt=0)
    """Heads of each attention layer."""
    num_key_value_heads: int | None = None
    """Grouped-query attention; none means one key-value head for each head."""
    head_dim: int | None = None
    """Width of a head; none means hidden_size / num_attention_heads."""
    intermediate_size: int = Field(default=688, gt=0)
    """Width inside the feed-forward layers."""
    max_position_embeddings: int = Field(default=1024, gt=0)
    """Longest sequence that the model reads, in tokens."""
    position: Literal["rope", "learned"] = "rope"
    """How positions are told apart: rotations of queries and keys, or a learned vector each."""
    rope_theta: float = 10_000.0
    """Base of the rotations' wavelengths; larger for longer contexts."""
    rope_scaling: RopeScaling | None = None
    """How rotations are scaled for a longer context; none: not at all."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """Normalisation before each sublayer and at the end."""
    norm_eps: float = 1e-5
    """Added under the root of the normalisation."""
    activation: Literal["silu", "gelu_tanh"] = "silu"
    """Nonlinearity of the feed-forward layers."""
    gated_mlp: bool = True
    """SwiGLU-style feed-forward: down(act(gate(x)) * up(x)); else down(act(up(x)))."""
    attention_bias: bool = False
    """Whether the attention's linear layers have a bias."""
    attention_out_bias: bool | None = None
    """Whether the attention's output layer has a bias; none: as `attention_bias` says."""
    qk_norm: bool = False
    """RMS norm of each head's queries and keys before they are rotated."""
    mlp_bias: bool = False
    """Whether the feed-forward layers have a bias."""
    tie_word_embeddings: bool = True
    """Use the embedding as the output matrix too."""
    sliding_windows: tuple[int | None, ...] | None = None
    """For each layer, how many latest positions it sees, its own included; none: all.

    As in Hugging Face's `sliding_window` w: a distance below w is seen. A window that keeps
    distances up to 512 is 513 here.
    """
    num_experts: int | None = Field(default=None, gt=1)
    """Experts of each feed-forward, of which a router chooses; none: one dense feed-forward."""
    num_experts_per_tok: int = Field(default=2, gt=0)
    """Experts that work on a token."""
    moe_intermediate_size: int | None = Field(default=None, gt=0)
    """Width inside an expert; none: intermediate_size."""
    norm_topk_prob: bool = True
    """Whether the probabilities of a token's experts are divided by their sum."""
    router_aux_loss_coef: float = Field(default=0.001, ge=0)
    """Weight of the load-balancing loss in every training, unless a stage sets its own."""
    router_z_loss_coef: float = Field(default=0.0, ge=0)
    """Weight of the router's z-loss in every training, unless a stage sets its own."""
    initializer_range: float = 0.02
    """Standard deviation of the first weights."""

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def expert_size(self) -> int:
        """Width inside an expert."""
        return self.moe_intermediate_size or self.intermediate_size

    @property
    def out_bias(self) -> bool:
        """Whether the attention's output layer has a bias."""
        return self.attention_bias if self.attention_out_bias is None else self.attention_out_bias

    def window(self, layer: int) -> int | None:
        """Sliding window of a layer in positions, or none for full attention."""
        return self.sliding_windows[layer] if self.sliding_windows else None

    @model_validator(mode="after")
    def _rotates(self) -> Self:
        if self.rope_scaling is not None and self.position != "rope":
            raise ValueError("rope_scaling scales rotations, and position is not 'rope'")
        if any(window is not None and window < 1 for window in self.sliding_windows or ()):
            raise ValueError("a layer's sliding window sees at least its own position: 1 or more")
        return self

    @model_validator(mode="after")
    def _routes(self) -> Self:
        if self.num_experts is None:
            return self
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is more than "
                f"num_experts {self.num_experts}"
            )
        if not self.gated_mlp or self.mlp_bias:
            raise ValueError("experts are gated and have no bias: gated_mlp true, mlp_bias false")
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}; set head_dim or change one"
            )
        if self.num_attention_heads % self.kv_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.kv_heads}"
            )
        if self.sliding_windows and len(self.sliding_windows) != self.num_hidden_layers:
            raise ValueError(
                f"sliding_windows names {len(self.sliding_windows)} layers, "
                f"the model has {self.num_hidden_layers}"
            )
        return self


PRESETS: dict[str, dict[str, object]] = {
    "llama": {},
    "gpt2": {
        "position": "learned",
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "gated_mlp": False,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "gpt2-124m": {
        "position": "learned",
        "norm": "layernorm",
        "activation": "gelu_tanh",
        "gated_mlp": False,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 1024,
    },
}
"""Starting points for `model: {preset: NAME, …}`: keys beside the preset override it."""


def check_shape(model: dict[str, Any]) -> dict[str, Any]:
    """A recipe's `model: {preset: …}` of a model from scratch, its preset a known one.

    Raises:
        ValueError: An unknown preset, or a vocabulary size, which follows the tokenizer.
    """
    preset = model.get("preset", "llama")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"unknown preset '{preset}'; {did_you_mean(str(preset), PRESETS)}")
    if "vocab_size" in model:
        raise ValueError("vocab_size follows the tokenizer; delete this key")
    return model
