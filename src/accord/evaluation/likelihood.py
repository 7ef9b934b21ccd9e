"""What models think of given texts: log-probabilities and exact KL, teacher-forced.

Axes: S scored tokens, D width, V vocabulary, R sequences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.data.batch import TokenBatch
from accord.data.packing import Example, Response, collate
from accord.evaluation.samples import Prompt, Sample
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_kl, token_logps

SEQUENCES_AT_ONCE = 64


@dataclass(frozen=True)
class Policy:
    """A model under evaluation and the tokenizer it reads and writes with."""

    name: str
    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class SequenceSum:
    """A quantity summed over the tokens of one completion, and how many tokens those are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """The quantity a token."""
        return self.total / self.tokens


def batches(prompts: Sequence[Prompt], samples: Sequence[Sample]) -> list[TokenBatch]:
    """Prompts and completions as batches in which every completion token is scored."""
    examples = []
    for prompt, sample in zip(prompts, samples, strict=True):
        response = Response(sample.ids, (True,) * len(sample.ids))
        examples.append(Example(prompt.ids, (response,), prompt.id))
    return [
        collate(examples[i : i + SEQUENCES_AT_ONCE])
        for i in range(0, len(examples), SEQUENCES_AT_ONCE)
    ]


def drawable(policy: Policy) -> Tensor:
    """The ids [A] that can be drawn: not the pad token, nor rows that only pad the embedding."""
    ids = (i for i in range(len(policy.tokenizer)) if i != policy.tokenizer.pad_id)
    return torch.tensor(list(ids), device=policy.model.head_weight_VD.device)


def sequence_logps(
    policy: Policy, prompts: Sequence[Prompt], samples: Sequence[Sample]
) -> list[SequenceSum]:
    """Log-probability (nats) of each completion under `policy`, given its prompt."""
    head_VD = policy.model.head_weight_VD[: len(policy.tokenizer)]

    def logps(batch: TokenBatch) -> Tensor:
        hidden_SD = predicting_hidden(policy.model, batch)
        return token_logps(hidden_SD, head_VD, batch.target_S)[0]

    return _summed(policy, prompts, samples, logps)


def sequence_kl(
    policy: Policy, reference: Policy, prompts: Sequence[Prompt], samples: Sequence[Sample]
) -> list[SequenceSum]:
    """KL(π‖π_ref) in nats along each completion, in closed form at each of its tokens.

    If the completions were sampled from π at temperature 1, the mean of these sums estimates the KL
    of the distributions over whole completions without bias, and with less variance than
    log π − log π_ref of the sampled tokens would (Rao–Blackwellised).
    Source: Amini et al., arXiv 2504.10637.
    """
    allowed_A = drawable(policy)
    head_AD = policy.model.head_weight_VD[allowed_A]
    reference_head_AE = reference.model.head_weight_VD[allowed_A]

    def kl(batch: TokenBatch) -> Tensor:
        return token_kl(
            predicting_hidden(policy.model, batch),
            head_AD,
            predicting_hidden(reference.model, batch),
            reference_head_AE,
        )

    return _summed(policy, prompts, samples, kl)


@torch.no_grad()
def _summed(
    policy: Policy,
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    per_token: Callable[[TokenBatch], Tensor],
) -> list[SequenceSum]:
    """Sum a per-token quantity over each completion, in float64."""
    device = policy.model.head_weight_VD.device
    sums: list[SequenceSum] = []
    for batch in batches(prompts, samples):
        on = batch.to(device)
        values_S = per_token(on).double()
        total_R = torch.zeros(batch.sequences, dtype=torch.float64, device=device)
        total_R.index_add_(0, on.sequence_S, values_S)
        tokens_R = torch.bincount(on.sequence_S, minlength=batch.sequences)
        pairs = zip(total_R.tolist(), tokens_R.tolist(), strict=True)
        sums += [SequenceSum(total, tokens) for total, tokens in pairs]
    return sums
