"""The shape of a decoder: one description for every family Accord can build or load."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Strict
from accord.errors import did_you_mean


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
    mlp_bias: bool = False
    """Whether the feed-forward layers have a bias."""
    tie_word_embeddings: bool = True
    """Use the embedding as the output matrix too."""
    sliding_windows: tuple[int | None, ...] | None = None
    """For each layer, how many latest positions it sees (itself included); none: all."""
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

    def window(self, layer: int) -> int | None:
        """Sliding window of a layer in positions, or none for full attention."""
        return self.sliding_windows[layer] if self.sliding_windows else None

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
