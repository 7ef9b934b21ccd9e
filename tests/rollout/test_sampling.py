"""Tokens are drawn from the distribution that the settings define, and from nowhere else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.rollout.sampling import (
    argmax_blocks,
    draw_,
    forbid_ngrams,
    penalise_repetition,
    pick,
    pick_blocks,
    truncated,
    uniforms,
)

SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.7),
    SamplingConfig(top_k=5),
    SamplingConfig(top_k=10_000),
    SamplingConfig(top_p=0.8),
    SamplingConfig(min_p=0.1),
    SamplingConfig(temperature=1.3, top_k=20, top_p=0.7),
    SamplingConfig(temperature=0.9, top_k=40, top_p=0.95, min_p=0.05),
    SamplingConfig(temperature=2.0, top_p=0.9, min_p=0.2),
]


def label(sampling: SamplingConfig) -> str:
    changed = sampling.model_dump(exclude_defaults=True)
    return ",".join(f"{key}={value}" for key, value in changed.items()) or "plain"


def random_logits(rows: int, vocab: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def by_hand(logits: list[float], sampling: SamplingConfig) -> list[float]:
    """The definition in plain float64 Python: temperature, top-k, top-p, min-p, renormalised."""
    scaled = [x / sampling.temperature for x in logits]
    order = sorted(range(len(scaled)), key=lambda i: (-scaled[i], i))
    order = order[: sampling.top_k or None]
    weight = {i: math.exp(scaled[i] - scaled[order[0]]) for i in order}
    total, kept, before = sum(weight.values()), [], 0.0
    for i in order:
        if before < sampling.top_p:
            kept.append(i)
        before += weight[i] / total
    kept = [i for i in kept if weight[i] >= sampling.min_p * weight[order[0]]]
    total = sum(weight[i] for i in kept)
    return [math.log(weight[i] / total) if i in kept else -math.inf for i in range(len(scaled))]


@pytest.mark.parametrize("sampling", SETTINGS, ids=label)
def test_truncated_is_the_definition(sampling):
    logits = random_logits(4, 50, 1)
    want = torch.tensor([by_hand(row, sampling) for row in logits.double().tolist()])
    torch.testing.assert_close(truncated(logits, sampling), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("vocab", [7, 128, 300])
@pytest.mark.parametrize("sampling", SETTINGS, ids=label)
def test_the_fast_draw_stays_in_the_support_at_its_log_probability(sampling, vocab):
    logits = random_logits(32, vocab, 2)
    want = truncated(logits, sampling)
    uniform = torch.rand(32, generator=torch.Generator().manual_seed(3))
    token, logp = draw_(logits.clone(), uniform, sampling)
    torch.testing.assert_close(logp, want.gather(1, token[:, None])[:, 0], atol=1e-5, rtol=0)
    assert logp.isfinite().all()


@pytest.mark.parametrize("sampling", SETTINGS, ids=label)
def test_frequencies_follow_the_distribution(sampling):
    draws = 20_000
    logits = random_logits(1, 200, 4)
    token, _ = draw_(logits.repeat(draws, 1), uniforms(5, draws), sampling)
    expected = truncated(logits, sampling)[0].double().exp() * draws
    seen = torch.bincount(token, minlength=200).double()
    assert seen[expected == 0].sum() == 0
    often = expected >= 5
    rest = torch.stack([seen[~often].sum(), expected[~often].sum()])
    terms = ((seen - expected) ** 2 / expected)[often].sum()
    if rest[1] > 0:
        terms += (rest[0] - rest[1]) ** 2 / rest[1]
    freedom = int(often.sum()) - 1 + int(rest[1] > 0)
    # mean and variance of chi-square are its freedom and twice its freedom
    assert terms <= freedom + 4 * math.sqrt(2 * max(freedom, 1))


@settings(deadline=None, max_examples=60)
@given(
    vocab=st.integers(1, 700),
    seed=st.integers(0, 10_000),
    zeros=st.floats(0, 0.99),
    uniform=st.floats(0, 1 - 2**-24, width=32),
)
def test_two_levels_pick_what_one_level_picks(vocab, seed, zeros, uniform):
    generator = torch.Generator().manual_seed(seed)
    # multiples of 1/64 add without rounding, so the two must agree exactly
    weights = torch.randint(1, 65, (3, vocab), generator=generator).float() / 64
    weights[torch.rand(3, vocab, generator=generator) < zeros] = 0
    weights[:, seed % vocab] = 1
    uniform_B = torch.tensor([uniform, 0.0, 1 - 2**-24])
    picked = pick_blocks(weights, uniform_B)
    assert picked.tolist() == pick(weights, uniform_B).tolist()
    assert (weights.gather(1, picked[:, None]) > 0).all()


@settings(deadline=None, max_examples=40)
@given(vocab=st.integers(1, 700), seed=st.integers(0, 10_000))
def test_two_levels_never_pick_weight_zero_despite_rounding(vocab, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(64, vocab, generator=generator).pow(8)
    weights[torch.rand(64, vocab, generator=generator) < 0.9] = 0
    weights[:, seed % vocab] = 1e-6
    picked = pick_blocks(weights, torch.rand(64, generator=generator))
    assert (weights.gather(1, picked[:, None]) > 0).all()


@given(vocab=st.integers(1, 700), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_argmax_in_two_levels_is_argmax(vocab, seed):
    logits = random_logits(5, vocab, seed)
    assert argmax_blocks(logits).tolist() == logits.argmax(-1).tolist()


def test_many_rows_are_drawn_as_few_are():
    logits, uniform = random_logits(300, 200, 12), uniforms(13, 300)
    together = draw_(logits.clone(), uniform, SamplingConfig())
    parts = [
        draw_(logits[i : i + 50].clone(), uniform[i : i + 50], SamplingConfig())
        for i in range(0, 300, 50)
    ]
    assert together[0].tolist() == torch.cat([token for token, _ in parts]).tolist()


def test_a_nucleus_wider_than_the_first_candidates_is_found():
    logits = random_logits(6, 3000, 6, scale=0.1)
    logits[0, 17] = 20.0  # one peaked row among flat ones
    sampling = SamplingConfig(top_p=0.9)
    want = truncated(logits, sampling)
    token, logp = draw_(logits.clone(), torch.linspace(0, 0.999, 6), sampling)
    assert token[0] == 17
    torch.testing.assert_close(logp, want.gather(1, token[:, None])[:, 0], atol=1e-4, rtol=0)


def test_greedy_takes_the_likeliest_at_its_plain_log_probability():
    logits = random_logits(8, 300, 7)
    token, logp = draw_(logits.clone(), torch.zeros(8), SamplingConfig(temperature=0, top_k=3))
    assert token.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(logp, logits.log_softmax(-1).amax(-1), atol=1e-5, rtol=0)


def test_temperature_has_an_effect():
    logits = random_logits(1, 50, 8)
    cold, hot = (truncated(logits, SamplingConfig(temperature=t)).exp().max() for t in (0.5, 2.0))
    assert cold > hot


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0]])
    history = torch.tensor([[0, 1, 1, 0]])
    got = penalise_repetition(logits, history, 2.0)
    assert got.tolist() == [[1.0, -4.0, 1.0, -1.0]]
    assert logits.tolist() == [[2.0, -2.0, 1.0, -1.0]]


def test_ngrams_of_the_history_are_forbidden():
    history = torch.tensor([[1, 2, 3, 1, 2, 9, 9, 9], [4, 4, 4, 0, 0, 0, 0, 0]])
    got = forbid_ngrams(torch.zeros(2, 10), history, torch.tensor([5, 3]), 3)
    assert [row.isinf().nonzero()[:, 0].tolist() for row in got] == [[3], [4]]


@pytest.mark.parametrize(("size", "banned"), [(1, [1, 2, 3]), (2, [3]), (3, []), (9, [])])
def test_ngram_sizes(size, banned):
    history = torch.tensor([[2, 3, 1, 2]])
    got = forbid_ngrams(torch.zeros(1, 6), history, torch.tensor([4]), size)
    assert got[0].isinf().nonzero()[:, 0].tolist() == banned


def test_a_uniform_is_a_function_of_seed_and_position():
    assert uniforms(3, 5).tolist() == uniforms(3, 50)[:5].tolist()
    assert uniforms(3, 5).tolist() != uniforms(4, 5).tolist()
    assert uniforms(2**70, 1000).min() >= 0 and uniforms(0, 100_000).max() < 1


def test_a_negative_seed_is_refused():
    with pytest.raises(AccordError, match="seed -1 is negative"):
        uniforms(-1, 3)


@pytest.mark.peer
@pytest.mark.parametrize("sampling", SETTINGS[1:], ids=label)
def test_supports_are_transformers_supports(sampling):
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    scores = logits = random_logits(16, 300, 9)
    if sampling.temperature != 1:
        scores = TemperatureLogitsWarper(sampling.temperature)(None, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(None, scores)
    want = scores.log_softmax(-1)
    torch.testing.assert_close(truncated(logits, sampling), want, atol=1e-5, rtol=0)


@pytest.mark.peer
def test_penalties_are_transformers_penalties():
    from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    generator = torch.Generator().manual_seed(10)
    ids = torch.randint(0, 6, (8, 30), generator=generator)
    logits = random_logits(8, 12, 11)
    want = RepetitionPenaltyLogitsProcessor(1.3)(ids, logits.clone())
    torch.testing.assert_close(penalise_repetition(logits, ids, 1.3), want)
    lengths = torch.full((8,), 30)
    for size in (1, 2, 3, 4):
        want = NoRepeatNGramLogitsProcessor(size)(ids, logits.clone())
        assert torch.equal(forbid_ngrams(logits, ids, lengths, size), want)
