"""A scorer: a decoder's trunk and one number for a response (reward model) or a token (critic).

Axes: N tokens of the stream, R sequences, S scored tokens, D width.
"""

from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config.model import ModelConfig
from accord.data.scoring import Pooling, ScoreBatch
from accord.model.decoder import Decoder
from accord.model.plan import Plan

POOLINGS: Mapping[str, Pooling] = {"causal": "last", "bidirectional": "mean"}
"""Architecture of a reward stage to where the score is read."""


class Scorer(nn.Module):
    """A trunk and a score head without bias.

    Args:
        config: Shape of the trunk. A scorer predicts no token, so that the trunk has no output
            matrix of its own, whatever the config says.
        pooling: `last`: causal attention, the score is read at the last token; `mean`: every token
            sees its whole sequence, the score is read from the mean over it.
    """

    def __init__(self, config: ModelConfig, pooling: Pooling) -> None:
        super().__init__()
        self.config = config.model_copy(update={"tie_word_embeddings": True})
        self.pooling: Pooling = pooling
        self.trunk = Decoder(self.config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    @classmethod
    def empty(
        cls,
        config: ModelConfig,
        pooling: Pooling,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """A scorer whose weights are yet to be filled; draws no random number."""
        with torch.device("meta"):
            scorer = cls(config, pooling)
        return scorer.to(dtype).to_empty(device=device)

    @classmethod
    @torch.no_grad()
    def from_decoder(cls, decoder: Decoder, pooling: Pooling, seed: int) -> Self:
        """A scorer with a copy of the decoder's trunk and a new head; same seed, same bytes.

        The head is normal with the config's initializer_range, drawn in float32 on the CPU.
        """
        weight = decoder.embedding.weight
        scorer = cls.empty(decoder.config, pooling, weight.dtype, weight.device)
        own = decoder.state_dict()
        scorer.trunk.load_state_dict({n: w for n, w in own.items() if not n.startswith("head.")})
        generator = torch.Generator().manual_seed(seed)
        std = decoder.config.initializer_range
        scorer.score.weight.copy_(
            torch.empty(scorer.score.weight.shape).normal_(0.0, std, generator=generator)
        )
        return scorer

    def forward(self, batch: ScoreBatch) -> Tensor:
        """The score of every response, [R] float32."""
        if self.pooling == "last":
            hidden_ND = self.trunk(batch.ids_N, batch.position_N, Plan.of(batch.layout))
            return self.values(hidden_ND.index_select(0, batch.last_R))
        plan = Plan.bidirectional(batch.layout)
        hidden_ND = self.trunk(batch.ids_N, batch.position_N, plan)
        return self.values(_means(hidden_ND, batch.sequence_N, batch.sequences))

    def token_values(self, batch: ScoreBatch) -> Tensor:
        """The head's value at every token that a causal scorer reads, [N] float32."""
        return self.values(self.trunk(batch.ids_N, batch.position_N, Plan.of(batch.layout)))

    def values(self, hidden_SD: Tensor) -> Tensor:
        """The head's value of each hidden state, [S] float32."""
        return F.linear(hidden_SD.float(), self.score.weight.float()).squeeze(-1)


def _means(hidden_ND: Tensor, sequence_N: Tensor, sequences: int) -> Tensor:
    """Mean over each sequence's tokens in float32, [R, D]."""
    shape = (sequences, hidden_ND.shape[1])
    sums_RD = torch.zeros(shape, dtype=torch.float32, device=hidden_ND.device)
    sums_RD = sums_RD.index_add(0, sequence_N, hidden_ND.float())
    return sums_RD / torch.bincount(sequence_N, minlength=sequences)[:, None]
