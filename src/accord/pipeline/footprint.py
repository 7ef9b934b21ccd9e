"""Bytes that training takes, from the model's shape and the stage's settings. No torch.

What holds what: `train.precision` (float32 masters, bf16 copies) and `train.optim`.
"""

from typing import NamedTuple

from accord.config.model import ModelConfig
from accord.config.train import TrainConfig

_FP32, _BF16 = 4, 2


class Footprint(NamedTuple):
    """Bytes that each rank holds.

    Args:
        weights: Float32 masters, and what is computed with where that is bf16.
        gradients: The masters', and those of the copies in bf16.
        optimizer: AdamW's two moments in float32; of what Muon steps one.
        activations: Of one micro-batch, about: what the backward pass reads again.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int


def footprint(
    shape: ModelConfig, parameters: int, stage: TrainConfig, tokens: int, ranks: int
) -> Footprint:
    """What a rank holds.

    Args:
        shape: The model's.
        parameters: Of it.
        stage: Its precision, optimiser and gradient checkpointing.
        tokens: Of a micro-batch at most.
        ranks: Processes that shards are divided over.
    """
    width = stage_width(stage)
    # under ranks a block at a time is gathered in what is computed with
    copies = parameters if ranks == 1 else -(-parameters // max(shape.num_hidden_layers, 1))
    extra = 0 if stage.precision == "fp32" and ranks == 1 else width * copies
    share = -(-parameters // ranks)
    stepped = _by_muon(shape) if stage.optimizer == "muon" else 0
    moments = 2 * parameters - stepped
    return Footprint(
        weights=_FP32 * share + extra,
        gradients=_FP32 * share + extra,
        optimizer=-(-_FP32 * moments // ranks),
        activations=tokens * width * _kept(shape, stage.gradient_checkpointing),
    )


def stage_width(stage: TrainConfig) -> int:
    """Bytes of a number that a stage computes with."""
    return _FP32 if stage.precision == "fp32" else _BF16


def _by_muon(shape: ModelConfig) -> int:
    """Parameters in matrices inside the blocks; experts are stacked and AdamW's."""
    queries = shape.num_attention_heads * shape.head_size
    keys = shape.kv_heads * shape.head_size
    attention = shape.hidden_size * (2 * queries + 2 * keys)
    if shape.num_experts is not None:
        inside = shape.num_experts * shape.hidden_size
    else:
        inside = (3 if shape.gated_mlp else 2) * shape.hidden_size * shape.intermediate_size
    return shape.num_hidden_layers * (attention + inside)


def _kept(shape: ModelConfig, checkpointed: bool) -> int:
    """Numbers a token that wait for the backward pass; logits are made in chunks and not kept."""
    queries = shape.num_attention_heads * shape.head_size
    keys = shape.kv_heads * shape.head_size
    # in, normed; queries and keys before and after rotation, values; mixed; out
    attention = 3 * shape.hidden_size + 3 * queries + 3 * keys
    inner, times = shape.intermediate_size, 1
    if shape.num_experts is not None:
        inner, times = shape.expert_size, shape.num_experts_per_tok
    # gate, its activation, up and their product; or up and its activation
    feed_forward = shape.hidden_size + times * (4 if shape.gated_mlp else 2) * inner
    if shape.num_experts is not None:
        feed_forward += 2 * times * shape.hidden_size
    block = attention + feed_forward
    layers = shape.num_hidden_layers
    return layers * shape.hidden_size + block if checkpointed else layers * block
