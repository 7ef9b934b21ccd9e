"""Log-probabilities and KL against the definitions, written out in float64."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch

from accord.config.model import ModelConfig
from accord.evaluation.likelihood import Policy, drawable, sequence_kl, sequence_logps
from accord.evaluation.samples import Prompt, Sample
from accord.model.decoder import Decoder
from accord.model.plan import Plan

PAD, END = 3, 0


@dataclass
class FiveTokens:
    """As much of a tokenizer as likelihoods look at: 5 tokens, one of them the pad token."""

    end_id: int = END
    pad_id: int = PAD

    def __len__(self) -> int:
        return 5


def tiny(seed: int) -> Policy:
    config = ModelConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    model = Decoder.init(config, seed).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            parameter.add_(0.7 * noise)
    return Policy(str(seed), model, FiveTokens())


def next_logps(policy: Policy, ids: tuple[int, ...], allowed: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token, over the allowed ones only."""
    n = len(ids)
    with torch.no_grad():
        hidden = policy.model(torch.tensor(ids), torch.arange(n), Plan.dense(1, n))
        return policy.model.logits(hidden[-1])[allowed].log_softmax(-1)


def prompt(*ids: int) -> Prompt:
    return Prompt("p", "", ids, continues=True)


def sample(*ids: int) -> Sample:
    return Sample("", ids, ids[-1] == END, len(ids) - (ids[-1] == END))


def test_pad_and_padding_rows_can_not_be_drawn():
    assert drawable(tiny(1)).tolist() == [0, 1, 2, 4]


def test_expected_kl_along_samples_is_the_kl_of_whole_completions():
    policy, reference, allowed = tiny(1), tiny(2), [0, 1, 2, 4]
    asked, longest = (1, 2), 3
    sequences = [
        s
        for n in range(1, longest + 1)
        for s in product(allowed, repeat=n)
        if END not in s[:-1] and (s[-1] == END or n == longest)
    ]
    probability, kl = [], 0.0
    for ids in sequences:
        ours = theirs = 0.0
        for t, token in enumerate(ids):
            at = allowed.index(token)
            ours += float(next_logps(policy, asked + ids[:t], allowed)[at])
            theirs += float(next_logps(reference, asked + ids[:t], allowed)[at])
        probability.append(torch.tensor(ours).exp().item())
        kl += probability[-1] * (ours - theirs)
    assert sum(probability) == pytest.approx(1.0)
    sums = sequence_kl(
        policy, reference, [prompt(*asked)] * len(sequences), [sample(*s) for s in sequences]
    )
    along = sum(p * s.total for p, s in zip(probability, sums, strict=True))
    assert kl > 0.1
    assert along == pytest.approx(kl, rel=1e-6)
    assert [s.tokens for s in sums] == [len(s) for s in sequences]


def test_kl_from_itself_is_zero():
    policy = tiny(1)
    [found] = sequence_kl(policy, policy, [prompt(1)], [sample(2, 4, END)])
    assert found.total == pytest.approx(0.0, abs=1e-12) and found.tokens == 3


def test_log_probability_of_each_completion():
    policy = tiny(3)
    pairs = [((1,), (2, END)), ((4, 2, 1), (1, 1, 1, 4)), ((2,), (END,))]
    found = sequence_logps(policy, [prompt(*p) for p, _ in pairs], [sample(*s) for _, s in pairs])
    for (asked, ids), got in zip(pairs, found, strict=True):
        want = sum(
            float(next_logps(policy, asked + ids[:t], list(range(5)))[token])
            for t, token in enumerate(ids)
        )
        assert got.total == pytest.approx(want, rel=1e-9)
        assert got.mean == pytest.approx(want / len(ids), rel=1e-9)


def test_batches_change_nothing(monkeypatch):
    policy, reference = tiny(1), tiny(2)
    prompts = [prompt(1, 2), prompt(4), prompt(2, 2, 2)]
    samples = [sample(1, END), sample(2, 2, 1), sample(END)]
    together = sequence_kl(policy, reference, prompts, samples)
    monkeypatch.setattr("accord.evaluation.likelihood.SEQUENCES_AT_ONCE", 1)
    alone = sequence_kl(policy, reference, prompts, samples)
    for a, b in zip(together, alone, strict=True):
        assert a.total == pytest.approx(b.total, rel=1e-9)
