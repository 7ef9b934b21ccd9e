"""The decoder: one transformer whose config decides which family it is.

It holds no loss, no device, no padding and no cache: tokens come as one flat stream of N, and
`attend` knows who sees whom. Axes: N tokens of the stream, D width, V rows of the vocabulary.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig
from accord.model.attention import Attend, Attention
from accord.model.layers import norm
from accord.model.moe import feed_forward
from accord.model.rotary import Rotary, rotary


class Block(nn.Module):
    """Attention and feed-forward, each added to the stream after a norm of its own."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = norm(config)
        self.mlp = feed_forward(config)

    def forward(self, hidden_ND: Tensor, by: Rotary | None, attend: Attend) -> Tensor:
        """One layer, [N, D] to [N, D]."""
        hidden_ND = hidden_ND + self.attention(self.attention_norm(hidden_ND), by, attend)
        return hidden_ND + self.mlp(self.mlp_norm(hidden_ND))


class Decoder(nn.Module):
    """A decoder-only language model without its loss.

    `layers` is a plain `ModuleList`, so that FSDP2 can wrap each; the model has no buffer, so that
    it can be built on the meta device and filled later.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size)
            if config.position == "learned"
            else None
        )
        self.layers = nn.ModuleList(
            Block(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = norm(config)
        self.head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )

    @classmethod
    def init(cls, config: ModelConfig, seed: int) -> Self:
        """A new model on the CPU in float32; the same seed gives the same bytes."""
        decoder = cls.empty(config)
        decoder.init_weights(torch.Generator().manual_seed(seed))
        return decoder

    @classmethod
    def empty(
        cls,
        config: ModelConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """A model whose weights are yet to be filled; draws no random number."""
        with torch.device("meta"):
            decoder = cls(config)
        return decoder.to(dtype).to_empty(device=device)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Fill all weights: normal(0, initializer_range), biases 0, norms 1.

        Projections that add to the stream are scaled by 1/sqrt(2 layers) (GPT-2). Every weight is
        drawn in float32 on the generator's device, whatever the model's dtype and device are.
        """
        std = self.config.initializer_range
        residual = std / math.sqrt(2 * self.config.num_hidden_layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                weight.fill_(0.0 if name.endswith(".bias") else 1.0)
                continue
            scale = residual if name.endswith((".out.weight", ".down.weight")) else std
            drawn = torch.empty(weight.shape, device=generator.device)
            weight.copy_(drawn.normal_(0.0, scale, generator=generator))

    def forward(self, ids_N: Tensor, position_N: Tensor, attend: Attend) -> Tensor:
        """Hidden states after the last norm.

        Args:
            ids_N: int64 token ids of the stream.
            position_N: int64 position of each token in its own sequence.
            attend: A `Plan`, or a `KVCache`'s prefill or step.

        Returns:
            [N, D].
        """
        hidden_ND = self.embedding(ids_N)
        by = None
        if self.position_embedding is None:
            by = rotary(position_N, self.config, hidden_ND.dtype)
        else:
            hidden_ND = hidden_ND + self.position_embedding(position_N)
        for layer in self.layers:
            hidden_ND = layer(hidden_ND, by, attend)
        return self.norm(hidden_ND)

    @property
    def head_weight_VD(self) -> Tensor:
        """The output matrix: the embedding itself where they are tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, [..., D] to [..., V]."""
        return F.linear(hidden, self.head_weight_VD)
