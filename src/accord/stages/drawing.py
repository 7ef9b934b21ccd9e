"""How completions are drawn, and their log-probabilities under exactly that.

Axes: S scored tokens, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.data.batch import TokenBatch
from accord.data.experience import Experience, Support, collate_experience
from accord.data.packing import Example
from accord.errors import AccordError
from accord.model.plan import predicting_hidden
from accord.objectives.entropy import token_logps_entropies
from accord.objectives.logprobs import TokenStats, token_logps

Floats = NDArray[np.float32]
Supports = tuple[NDArray[np.int64], ...]

TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Drawing:
    """What roll-out and update have to agree on.

    Args:
        sampling: How tokens are drawn.
        tokens: `len(tokenizer)`; rows of the embedding past it are padding and never drawn.
        forbidden: Ids that are never drawn.
    """

    sampling: SamplingConfig
    tokens: int
    forbidden: tuple[int, ...] = ()

    @property
    def truncates(self) -> bool:
        """Whether some tokens are left out at each draw."""
        sampling = self.sampling
        return sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0

    def logps(
        self, model: Any, batch: TokenBatch, hidden_SD: Tensor, support: Support | None
    ) -> tuple[Tensor, TokenStats]:
        """Log-probability at which each scored token is drawn, differentiable, float32 [S]."""
        head_VD, how = self._how(model, hidden_SD, support)
        return token_logps(hidden_SD, head_VD, batch.target_S, **how)

    def logps_entropies(
        self, model: Any, batch: TokenBatch, hidden_SD: Tensor, support: Support | None
    ) -> tuple[Tensor, Tensor, TokenStats]:
        """`logps`, with the entropies of what tokens are drawn from differentiable too."""
        head_VD, how = self._how(model, hidden_SD, support)
        return token_logps_entropies(hidden_SD, head_VD, batch.target_S, **how)

    def _how(
        self, model: Any, hidden_SD: Tensor, support: Support | None
    ) -> tuple[Tensor, dict[str, Any]]:
        head_VD, device = model.head_weight_VD, hidden_SD.device
        return head_VD[: self.tokens] if self.tokens < len(head_VD) else head_VD, {
            "temperature": self.sampling.temperature,
            "forbidden": torch.tensor(self.forbidden, device=device) if self.forbidden else None,
            "support": None if support is None else (support.ids_M, support.offsets),
        }


def check_drawing(sampling: SamplingConfig, where: str) -> None:
    """Refuse settings under which a token has no log-probability of its own to be trained on."""
    if sampling.temperature == 0:
        raise AccordError(
            "At temperature 0 every completion of a prompt is the same.",
            f"{where}.rollout.sampling.temperature",
            "set it to 1.0, or a little less",
        )
    if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram_size:
        raise AccordError(
            "Tokens drawn under a penalty on repetition cannot be scored by the update.",
            f"{where}.rollout.sampling",
            "leave out repetition_penalty and no_repeat_ngram_size",
        )


def chunks(examples: Sequence[Example]) -> Iterator[list[int]]:
    """Places of the examples, alike lengths together, few enough tokens for one forward pass."""
    chosen: list[int] = []
    tokens = 0
    for place in sorted(range(len(examples)), key=lambda i: (examples[i].length, i)):
        size = len(examples[place].prompt) + sum(len(r.ids) for r in examples[place].responses)
        if chosen and tokens + size > TOKENS_AT_ONCE:
            yield chosen
            chosen, tokens = [], 0
        chosen.append(place)
        tokens += size
    if chosen:
        yield chosen


def scored_tokens(example: Example) -> int:
    """How many tokens of an example carry loss."""
    return sum(sum(response.mask) for response in example.responses)


@torch.no_grad()
def drawn_logps(
    model: Any, examples: Sequence[Example], drawing: Drawing, supports: Sequence[Supports | None]
) -> tuple[list[Floats], list[Floats]]:
    """Log-probability of every scored token as `model` would draw it, and the entropies there.

    Returns:
        For each example float32 arrays over its scored tokens, in `collate`'s order.
    """
    logps: list[Floats] = [np.zeros(0, np.float32)] * len(examples)
    entropies = list(logps)
    for places in chunks(examples):
        nothing = [np.zeros(0, np.float32)] * len(places)
        rows = [
            Experience(examples[i], empty, support=supports[i])
            for i, empty in zip(places, nothing, strict=True)
        ]
        batch = collate_experience(rows).to(model.head_weight_VD.device)
        hidden_SD = predicting_hidden(model, batch)
        logps_S, stats = drawing.logps(model, batch, hidden_SD, batch.support)
        sizes = [scored_tokens(examples[i]) for i in places]
        for found, column in ((logps, logps_S), (entropies, stats.entropy_S)):
            for i, part in zip(places, column.float().cpu().split(sizes), strict=True):
                found[i] = part.numpy()
    return logps, entropies
