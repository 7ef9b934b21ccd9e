"""How many parameters a model has: from its shape alone, before any is allocated."""

from typing import NamedTuple

from accord.config.model import ModelConfig


class Parameters(NamedTuple):
    """Parameters of a model.

    Args:
        total: All of them; a tied head counts once.
        active: Those that work on one token: all but the experts that the router did not choose.
    """

    total: int
    active: int


def count_parameters(config: ModelConfig) -> Parameters:
    """The parameters of a decoder of this shape."""
    layers, width = config.num_hidden_layers, config.hidden_size
    norm = width * (2 if config.norm == "layernorm" else 1)
    expert = 0 if config.num_experts is None else 3 * width * config.expert_size
    idle = expert * ((config.num_experts or 0) - config.num_experts_per_tok)
    outside = norm + config.vocab_size * width * (1 if config.tie_word_embeddings else 2)
    if config.position == "learned":
        outside += config.max_position_embeddings * width
    layer = _attention(config) + _feed_forward(config) + 2 * norm
    total = outside + layers * layer
    return Parameters(total, total - layers * idle if expert else total)


def _attention(config: ModelConfig) -> int:
    width, size = config.hidden_size, config.head_size
    queries, keys = config.num_attention_heads * size, config.kv_heads * size
    biases = (queries + 2 * keys) * config.attention_bias + width * config.out_bias
    return width * (2 * queries + 2 * keys) + biases + 2 * size * config.qk_norm


def _feed_forward(config: ModelConfig) -> int:
    width, inner = config.hidden_size, config.intermediate_size
    if config.num_experts is not None:
        return config.num_experts * (width + 3 * width * config.expert_size)
    into = 2 if config.gated_mlp else 1
    return (into + 1) * width * inner + (into * inner + width) * config.mlp_bias
