"""Log-probabilities and supports of given responses, by the packed training path.

Axes: S scored tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.objectives.logprobs import token_logps
from accord.rollout.sampling import supported, truncated

_CHUNK = 256
Pair = tuple[Sequence[int], Sequence[int]]
LogpsOf = Callable[[Tensor, Tensor], Tensor]


def score(
    model: Decoder, sequences: Sequence[Pair], temperature: float = 1.0, batch: int = 16
) -> list[Tensor]:
    """Log-probability of each response token after its prompt, over all rows of the embedding.

    Args:
        model: The decoder.
        sequences: (prompt ids, response ids), each with at least one token.
        temperature: Logits are divided by it.
        batch: Sequences a forward pass.

    Returns:
        float32 [response tokens] on the CPU for each sequence, in order.

    Raises:
        AccordError: An empty prompt or response, or a temperature that is not positive.
    """
    if temperature <= 0:
        raise AccordError(f"temperature {temperature} has no probabilities", "temperature")
    head_VD = model.head_weight_VD

    def plain(hidden_SD: Tensor, target_S: Tensor) -> Tensor:
        return token_logps(hidden_SD, head_VD, target_S, temperature=temperature)[0]

    return _score(model, sequences, batch, plain)


def score_sampled(
    model: Decoder,
    sequences: Sequence[Pair],
    sampling: SamplingConfig,
    tokens: int,
    forbidden: Sequence[int] = (),
    batch: int = 16,
) -> list[Tensor]:
    """Log-probability at which an engine with these settings draws each response token.

    Args:
        model: The decoder.
        sequences: (prompt ids, response ids), each with at least one token.
        sampling: Temperature, top-k, top-p and min-p are applied; a token outside the support
            they leave gets -inf. At temperature 0 the plain log-probabilities are given.
        tokens: `len(tokenizer)`; rows of the embedding past it are padding.
        forbidden: `engine.forbidden`.
        batch: Sequences a forward pass.

    Raises:
        AccordError: An empty prompt or response, or a penalty on repetition: what it forbids
            depends on each token's whole history.
    """
    _refuse_penalties(sampling)
    logits_of = _Logits(model, tokens, forbidden)

    def drawn_at(hidden_SD: Tensor, target_S: Tensor) -> Tensor:
        chunks = []
        for rows, logits_SV in logits_of.chunks(hidden_SD):
            chunks.append(truncated(logits_SV, sampling).gather(1, target_S[rows, None])[:, 0])
        return torch.cat(chunks)

    return _score(model, sequences, batch, drawn_at)


@torch.inference_mode()
def supports(
    model: Decoder,
    sequences: Sequence[Pair],
    sampling: SamplingConfig,
    tokens: int,
    forbidden: Sequence[int] = (),
    batch: int = 16,
) -> list[tuple[NDArray[np.int64], ...]]:
    """The ids that an engine with these settings could have drawn each response token from.

    Rising, and the drawn token is always among them: where it stands on the edge of a nucleus,
    rounding may put it in for the engine and out for the packed path.

    Args:
        model: The decoder, with the weights that drew the responses.
        sequences: (prompt ids, response ids), each with at least one token.
        sampling: Temperature, top-k, top-p and min-p are applied. Where none truncates
            (`sampling.truncates`), the support is all that is not forbidden: leave the call out.
        tokens: `len(tokenizer)`; rows of the embedding past it are padding.
        forbidden: `engine.forbidden`.
        batch: Sequences a forward pass.

    Returns:
        For each sequence, an int64 array for each response token.

    Raises:
        AccordError: An empty prompt or response, or a penalty on repetition.
    """
    _refuse_penalties(sampling)
    logits_of = _Logits(model, tokens, forbidden)
    found: list[tuple[NDArray[np.int64], ...]] = [()] * len(sequences)
    for chosen, hidden_SD, target_S in _passes(model, sequences, batch):
        arrays: list[NDArray[np.int64]] = []
        for rows, logits_SV in logits_of.chunks(hidden_SD):
            inside_SV = supported(logits_SV, sampling).scatter_(1, target_S[rows, None], True)
            ids_M = inside_SV.nonzero()[:, 1].cpu().numpy()
            arrays += np.split(ids_M, inside_SV.sum(1).cumsum(0)[:-1].cpu().numpy())
        for i in chosen:
            length = len(sequences[i][1])
            found[i], arrays = tuple(arrays[:length]), arrays[length:]
    return found


class _Logits:
    """Logits of the tokens that may be drawn, -inf for those forbidden, in chunks of rows."""

    def __init__(self, model: Decoder, tokens: int, forbidden: Sequence[int]) -> None:
        self.head_VD = model.head_weight_VD[:tokens]
        self.banned = torch.tensor(forbidden, dtype=torch.int64, device=self.head_VD.device)

    def chunks(self, hidden_SD: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(hidden_SD), _CHUNK):
            rows = slice(start, start + _CHUNK)
            logits_SV = F.linear(hidden_SD[rows], self.head_VD).float()
            yield rows, logits_SV.index_fill_(1, self.banned, -torch.inf)


def _refuse_penalties(sampling: SamplingConfig) -> None:
    if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram_size:
        raise AccordError(
            "responses drawn under a repetition penalty or no_repeat_ngram_size cannot be scored",
            "sampling",
            "use the log-probabilities that the engine returned",
        )


@torch.inference_mode()
def _score(
    model: Decoder, sequences: Sequence[Pair], batch: int, logps_of: LogpsOf
) -> list[Tensor]:
    scored: list[Tensor] = [torch.empty(0)] * len(sequences)
    for chosen, hidden_SD, target_S in _passes(model, sequences, batch):
        logps_S = logps_of(hidden_SD, target_S).cpu()
        lengths = [len(sequences[i][1]) for i in chosen]
        for i, logps in zip(chosen, logps_S.split(lengths), strict=True):
            scored[i] = logps
    return scored


def _passes(
    model: Decoder, sequences: Sequence[Pair], batch: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Which sequences, the hidden states that predict their responses, and the responses."""
    for i, (prompt, response) in enumerate(sequences):
        if not len(prompt) or not len(response):
            empty = "response" if len(prompt) else "prompt"
            raise AccordError(f"a {empty} has no tokens", f"sequence {i}", "leave it out")
    device = model.head_weight_VD.device
    # sequences of like length share a grid with the least padding
    order = sorted(range(len(sequences)), key=lambda i: (sum(map(len, sequences[i])), i))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        packed = collate([_example(*sequences[i]) for i in chosen]).to(device)
        hidden_ND = model(packed.ids_N, packed.position_N, Plan(packed.layout))
        yield chosen, hidden_ND[packed.predict_S], packed.target_S


def _example(prompt: Sequence[int], response: Sequence[int]) -> Example:
    return Example(tuple(prompt), (Response(tuple(response), (True,) * len(response)),))
