"""Log-probabilities of given responses, teacher-forced through the packed training path.

Axes: S scored tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.objectives.logprobs import token_logps
from accord.rollout.sampling import truncated

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
    if sampling.repetition_penalty != 1 or sampling.no_repeat_ngram_size:
        raise AccordError(
            "responses drawn under a repetition penalty or no_repeat_ngram_size cannot be scored",
            "sampling",
            "use the log-probabilities that the engine returned",
        )
    head_VD = model.head_weight_VD[:tokens]
    banned = torch.tensor(forbidden, dtype=torch.int64, device=head_VD.device)

    def supported(hidden_SD: Tensor, target_S: Tensor) -> Tensor:
        chunks = []
        for start in range(0, len(target_S), _CHUNK):
            rows = slice(start, start + _CHUNK)
            logits_SV = F.linear(hidden_SD[rows], head_VD).float()
            logits_SV = logits_SV.index_fill_(1, banned, -torch.inf)
            chunks.append(truncated(logits_SV, sampling).gather(1, target_S[rows, None])[:, 0])
        return torch.cat(chunks)

    return _score(model, sequences, batch, supported)


@torch.inference_mode()
def _score(
    model: Decoder, sequences: Sequence[Pair], batch: int, logps_of: LogpsOf
) -> list[Tensor]:
    for i, (prompt, response) in enumerate(sequences):
        if not len(prompt) or not len(response):
            empty = "response" if len(prompt) else "prompt"
            raise AccordError(f"a {empty} has no tokens", f"sequence {i}", "leave it out")
    device = model.head_weight_VD.device
    # sequences of like length share a grid with the least padding
    order = sorted(range(len(sequences)), key=lambda i: (sum(map(len, sequences[i])), i))
    scored: list[Tensor] = [torch.empty(0)] * len(sequences)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        packed = collate([_example(*sequences[i]) for i in chosen]).to(device)
        hidden_ND = model(packed.ids_N, packed.position_N, Plan(packed.layout))
        logps_S = logps_of(hidden_ND[packed.predict_S], packed.target_S).cpu()
        lengths = [len(sequences[i][1]) for i in chosen]
        for i, logps in zip(chosen, logps_S.split(lengths), strict=True):
            scored[i] = logps
    return scored


def _example(prompt: Sequence[int], response: Sequence[int]) -> Example:
    return Example(tuple(prompt), (Response(tuple(response), (True,) * len(response)),))
