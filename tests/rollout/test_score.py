"""What the engine says a token was drawn at is what the training path gives it."""

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.plan import Plan
from accord.rollout.engine import Engine
from accord.rollout.score import score, score_sampled

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
PROMPTS = [[1], [2, 3, 4, 5, 6], [7, 8], list(range(20)), [5, 5, 5]]
SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.7),
    SamplingConfig(temperature=0),
    SamplingConfig(top_k=4),
    SamplingConfig(top_p=0.8),
    SamplingConfig(temperature=1.2, top_k=10, top_p=0.9, min_p=0.02),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_the_engines_log_probabilities_are_the_training_paths(style, sampling):
    model = tiny(style)
    engine = Engine(model, TOKENIZER)
    done = engine.generate(PROMPTS, sampling, range(5), batch_size=3)
    pairs = [(prompt, c.ids) for prompt, c in zip(PROMPTS, done, strict=True)]
    scored = score_sampled(model, pairs, sampling, len(TOKENIZER), engine.forbidden, batch=2)
    for completion, logps in zip(done, scored, strict=True):
        torch.testing.assert_close(torch.tensor(completion.logps), logps, atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_plain_scores_are_the_engines_where_the_embedding_has_no_padding(style, temperature):
    class Whole(LetterTokenizer):
        pad_id = None

    model = tiny(style, vocab_size=28)
    sampling = SamplingConfig(temperature=temperature)
    done = Engine(model, Whole()).generate(PROMPTS, sampling, range(5))
    pairs = [(prompt, c.ids) for prompt, c in zip(PROMPTS, done, strict=True)]
    for completion, logps in zip(done, score(model, pairs, temperature), strict=True):
        torch.testing.assert_close(torch.tensor(completion.logps), logps, atol=1e-5, rtol=0)


def test_scores_are_log_softmax_at_the_shifted_position():
    model, prompt, response = tiny("llama"), [1, 2, 3], [4, 5]
    hidden = model(torch.tensor([1, 2, 3, 4]), torch.arange(4), Plan.dense(1, 4))
    want = model.logits(hidden).log_softmax(-1)[[2, 3], [4, 5]].detach()
    [got] = score(model, [(prompt, response)])
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def test_a_token_outside_the_support_has_no_probability():
    model = tiny("llama")
    sampling = SamplingConfig(top_k=1)
    [greedy] = Engine(model, TOKENIZER).generate([[1]], SamplingConfig(temperature=0), [0])
    other = (greedy.ids[0] + 1) % 26
    [got] = score_sampled(model, [([1], [other])], sampling, 28)
    assert got.tolist() == [-torch.inf]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([], [1]), r"a prompt has no tokens\n  where: sequence 0"),
        (([1], []), r"a response has no tokens\n  where: sequence 0"),
    ],
)
def test_empty_sequences_are_refused(pair, message):
    with pytest.raises(AccordError, match=message):
        score(tiny("llama"), [pair])


def test_temperature_zero_has_no_plain_score():
    with pytest.raises(AccordError, match="temperature 0 has no probabilities"):
        score(tiny("llama"), [([1], [2])], temperature=0)


@pytest.mark.parametrize("changes", [{"repetition_penalty": 1.2}, {"no_repeat_ngram_size": 3}])
def test_penalties_cannot_be_scored(changes):
    with pytest.raises(AccordError, match="cannot be scored"):
        score_sampled(tiny("llama"), [([1], [2])], SamplingConfig(**changes), 28)
