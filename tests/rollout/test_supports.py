"""What a token was drawn from, and the trainer's log-probability under it."""

import numpy as np
import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.data.experience import Experience, collate_experience
from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_logps
from accord.rollout.engine import Engine
from accord.rollout.sampling import supported, truncated, truncates
from accord.rollout.score import score_sampled, supports

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
PROMPTS = [[1], [2, 3, 4, 5, 6], [7, 8], list(range(20)), [5, 5, 5]]
SETTINGS = [
    SamplingConfig(top_k=4),
    SamplingConfig(top_k=1),
    SamplingConfig(top_p=0.8, temperature=0.7),
    SamplingConfig(min_p=0.1),
    SamplingConfig(top_k=10, min_p=0.05),
    SamplingConfig(temperature=1.2, top_k=10, top_p=0.9, min_p=0.02),
    SamplingConfig(temperature=1.5, top_p=0.95, min_p=0.1),
]
MODELS = {
    "gpt2": tiny("gpt2"),
    "llama": tiny("llama"),
    "windows": tiny("llama", sliding_windows=(4, None), tie_word_embeddings=False),
}


def logits_under(model, prompt, response):
    """The logits that predict a response's tokens, by the packed path, [S, 32]."""
    packed = collate([Example(tuple(prompt), (Response(response, (True,) * len(response)),))])
    return model.logits(predicting_hidden(model, packed)).detach()


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_renormalised_over_the_support_are_the_engines(name, sampling):
    model = MODELS[name]
    engine = Engine(model, TOKENIZER)
    done = engine.generate(PROMPTS, sampling, range(5), batch_size=3)
    pairs = [(prompt, c.ids) for prompt, c in zip(PROMPTS, done, strict=True)]
    found = supports(model, pairs, sampling, len(TOKENIZER), engine.forbidden, batch=2)
    for (prompt, response), completion, rows in zip(pairs, done, found, strict=True):
        logits = logits_under(model, prompt, response).double() / sampling.temperature
        assert len(rows) == len(response)
        for token, logp, ids, logits_V in zip(
            response, completion.logps, rows, logits, strict=True
        ):
            assert ids.dtype == np.int64
            at = ids.tolist().index(token)
            assert sorted(set(ids.tolist())) == ids.tolist()
            assert max(ids) < 27  # neither the pad token nor a padding row
            want = logits_V[torch.from_numpy(ids)].log_softmax(-1)[at]
            assert abs(float(want) - logp) <= 1e-5


@pytest.mark.parametrize(
    "sampling", [*SETTINGS, SamplingConfig(), SamplingConfig(temperature=0, top_k=2)], ids=str
)
@pytest.mark.parametrize("vocab", [5, 300, 3000])
def test_the_fast_support_is_the_definitions(sampling, vocab):
    logits = torch.randn(16, vocab, generator=torch.Generator().manual_seed(vocab)) * 2
    logits[:, 3] = -torch.inf
    kept = logits.clone()
    want = truncated(logits, sampling) > -torch.inf
    assert torch.equal(supported(logits, sampling), want)
    assert torch.equal(logits, kept)


def test_settings_that_truncate():
    assert all(map(truncates, SETTINGS))
    assert not truncates(SamplingConfig(temperature=0.5))
    assert not truncates(SamplingConfig(temperature=0, top_k=2))  # greedy: plain probabilities


def test_a_token_that_rounding_puts_outside_is_kept():
    model, sampling = MODELS["llama"], SamplingConfig(top_k=1)
    [greedy] = Engine(model, TOKENIZER).generate([[1]], SamplingConfig(temperature=0), [0])
    other = (greedy.ids[0] + 1) % 26
    [(ids,)] = supports(model, [([1], [other])], sampling, 28)
    assert ids.tolist() == sorted([greedy.ids[0], other])


def test_supports_are_those_of_each_sequence_alone():
    pairs = [([1, 2, 3], [4, 5]), ([6], [7, 8, 9]), ([1, 2], [3])]
    sampling = SamplingConfig(top_p=0.7)
    together = supports(MODELS["gpt2"], pairs, sampling, 28)
    for pair, rows in zip(pairs, together, strict=True):
        [alone] = supports(MODELS["gpt2"], [pair], sampling, 28)
        assert [ids.tolist() for ids in rows] == [ids.tolist() for ids in alone]
    assert [len(rows) for rows in together] == [2, 3, 1]


@pytest.mark.parametrize("changes", [{"repetition_penalty": 1.2}, {"no_repeat_ngram_size": 3}])
@pytest.mark.parametrize("of", [supports, score_sampled])
def test_penalties_have_no_support(of, changes):
    with pytest.raises(AccordError, match="cannot be scored"):
        of(MODELS["llama"], [([1], [2])], SamplingConfig(**changes), 28)


@pytest.mark.parametrize("sampling", [*SETTINGS, SamplingConfig(temperature=0.6)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_updates_log_probabilities_are_the_engines(name, sampling):
    model, k = MODELS[name], 3
    engine = Engine(model, TOKENIZER)
    prompts = [prompt for prompt in PROMPTS for _ in range(k)]
    done = engine.generate(prompts, sampling, range(len(prompts)), batch_size=4)
    pairs = [(prompt, c.ids) for prompt, c in zip(prompts, done, strict=True)]
    found = supports(model, pairs, sampling, len(TOKENIZER), engine.forbidden)
    rows = []
    for start in range(0, len(prompts), k):
        group = slice(start, start + k)
        responses = tuple(Response(c.ids, (True,) * len(c.ids)) for c in done[group])
        drawn_at = np.array([logp for c in done[group] for logp in c.logps], dtype=np.float32)
        support = tuple(ids for row in found[group] for ids in row) if truncates(sampling) else None
        example = Example(tuple(prompts[start]), responses)
        rows.append(Experience(example, drawn_at, drawn_at, support=support))
    batch = collate_experience(rows)
    logps_S, _ = token_logps(
        predicting_hidden(model, batch),
        model.head_weight_VD,
        batch.target_S,
        temperature=sampling.temperature,
        forbidden=torch.tensor([27, 28, 29, 30, 31]),  # the pad token and what pads the embedding
        support=None if batch.support is None else (batch.support.ids_M, batch.support.offsets),
    )
    assert logps_S.requires_grad
    torch.testing.assert_close(logps_S.detach(), batch.old_logps_S, atol=1e-5, rtol=0)
