"""Accord's sampling settings in vLLM's words, and vLLM's outputs as Accord's completions."""

import math
from types import SimpleNamespace

import pytest

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.rollout.engine import Completion
from accord.rollout.vllm_request import completion, vllm_sampling

from .models import LetterTokenizer

TOKENIZER = LetterTokenizer()
ENDS = frozenset({26, 5})


def answer(ids, finish_reason="length", logps=None):
    """A `vllm.CompletionOutput` of these tokens, each at its own log-probability."""
    logps = [-0.5 - i for i in range(len(ids))] if logps is None else logps
    steps = [{token: SimpleNamespace(logprob=logp)} for token, logp in zip(ids, logps, strict=True)]
    return SimpleNamespace(token_ids=list(ids), logprobs=steps, finish_reason=finish_reason)


def build(output, **settings):
    return completion(output, TOKENIZER, ENDS, SamplingConfig(**settings), "prompt 3")


def test_settings_keep_their_meaning():
    sampling = SamplingConfig(
        temperature=0.7, top_k=40, top_p=0.9, repetition_penalty=1.2, stop=("\n\n", "User:")
    )
    assert vllm_sampling(sampling, ENDS, (27, 30)) == {
        "temperature": 0.7,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.0,
        "repetition_penalty": 1.2,
        "stop": ["\n\n", "User:"],
        "stop_token_ids": [5, 26],
        "ignore_eos": True,
        "logit_bias": {27: -math.inf, 30: -math.inf},
        "logprobs": 0,
        "detokenize": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }


def test_nothing_is_biased_and_no_text_made_without_need():
    given = vllm_sampling(SamplingConfig(temperature=0, min_p=0.1), ENDS, ())
    assert given["logit_bias"] is None
    assert given["detokenize"] is False
    assert (given["temperature"], given["min_p"]) == (0, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"no_repeat_ngram_size": 3},
            r"cannot forbid repeated n-grams\n  where: sampling.no_repeat_ngram_size\n  fix:",
        ),
        ({"min_p": 0.1, "top_p": 0.9}, r"min_p before top_p.*\n  where: sampling.min_p"),
        ({"temperature": 0.005}, r"draws at temperature 0.01 where a smaller one"),
        ({"temperature": 2.5}, r"temperatures up to 2\n  where: sampling.temperature"),
    ],
)
def test_what_vllm_would_draw_otherwise_is_refused(settings, message):
    with pytest.raises(AccordError, match=message):
        vllm_sampling(SamplingConfig(**settings), ENDS, ())


@pytest.mark.parametrize(
    "settings", [{"min_p": 0.1, "top_k": 5}, {"temperature": 0.01}, {"temperature": 2.0}], ids=str
)
def test_what_stands_at_the_edge_is_not_refused(settings):
    assert vllm_sampling(SamplingConfig(**settings), ENDS, ()).items() >= settings.items()


def test_the_end_token_is_among_the_ids_but_not_in_the_text():
    assert build(answer([0, 1, 26], "stop")) == Completion(
        (0, 1, 26), (-0.5, -1.5, -2.5), "end", "ab"
    )


def test_further_stop_tokens_end_a_completion():
    assert build(answer([0, 1, 5], "stop")) == Completion(
        (0, 1, 5), (-0.5, -1.5, -2.5), "stop", "ab"
    )


def test_an_ending_token_on_the_last_place_is_no_limit():
    assert build(answer([0, 26], "length")).finished == "end"


def test_stop_strings_are_cut_at_the_first_one():
    done = build(answer([0, 1, 2, 3], "stop"), stop=("cd", "b"))
    assert (done.ids, done.text, done.finished) == ((0, 1, 2, 3), "a", "stop")


def test_a_stop_string_completed_by_the_last_token_allowed_is_a_stop():
    assert build(answer([0, 1], "length"), stop=("ab",)).finished == "stop"


def test_a_limit_is_a_limit():
    done = build(answer([0, 1]), stop=("c",))
    assert (done.text, done.finished) == ("ab", "length")


@pytest.mark.parametrize("logp", [math.nan, -math.inf])
def test_a_token_without_probability_is_refused(logp):
    with pytest.raises(AccordError, match=r"not finite\n  where: prompt 3\n  fix: .*NaN"):
        build(answer([0, 1], logps=[-1.0, logp]))


def test_a_request_that_vllm_gave_up_is_refused():
    with pytest.raises(AccordError, match=r"gave up with 'abort'\n  where: prompt 3"):
        build(answer([0], "abort"))
