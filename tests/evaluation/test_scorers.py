"""Scorers by their own words, and their errors."""

import sys

import pytest

from accord.errors import AccordError
from accord.evaluation.samples import Prompt, Sample, answer_of
from accord.evaluation.scorers import SCORERS, scorer


def prompt(text: str, continues: bool) -> Prompt:
    return Prompt("p", text, (1, 2), continues)


def test_vader_judges_the_whole_text_of_a_continuation(make_policy):
    score = scorer("vader", make_policy("sft", 1))
    sample = Sample(" good film", (1,), True, 1)
    [alone] = score([prompt("This is not a", continues=False)], [sample])
    [whole] = score([prompt("This is not a", continues=True)], [sample])
    assert alone > 0.4
    assert whole < 0


def test_length_leaves_the_ending_token_out(make_policy):
    score = scorer("length", make_policy("sft", 1))
    samples = [Sample("a", (5, 0), True, 1), Sample("", (0,), True, 0)]
    assert score([prompt("", True)] * 2, samples) == [1.0, 0.0]


def test_fluency_prefers_what_the_reference_would_write(make_policy, tokenizer):
    reference = make_policy("sft", 1)
    from accord.config.generate import SamplingConfig
    from accord.evaluation.protocol import sample_policy

    prompts = [Prompt(str(i), "a", (tokenizer.start_id, 65 + i), True) for i in range(12)]
    own = sample_policy(
        reference, prompts, SamplingConfig(temperature=0, max_new_tokens=8), 1, seed=1
    )
    foreign = sample_policy(
        make_policy("other", 9), prompts, SamplingConfig(max_new_tokens=8), 1, seed=1
    )
    score = scorer("fluency", reference)
    ours, theirs = score(prompts, own), score(prompts, foreign)
    assert all(a > b for a, b in zip(ours, theirs, strict=True))
    assert all(value < 0 for value in ours + theirs)


def test_unknown_scorer_is_named_with_a_suggestion(make_policy):
    with pytest.raises(AccordError, match="There is no scorer 'vadr'") as error:
        scorer("vadr", make_policy("sft", 1))
    assert "did you mean 'vader'?" in str(error.value)


def test_missing_extra_names_the_pip_line(make_policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(AccordError, match=r"pip install 'accord\[rewards\]'"):
        scorer("vader", make_policy("sft", 1))


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_gives_a_number_for_every_completion(name, make_policy):
    samples = [Sample("", (0,), True, 0), Sample(" good", (5, 6, 0), True, 2)]
    found = scorer(name, make_policy("sft", 1))([prompt("This", True)] * 2, samples)
    assert [type(value) for value in found] == [float, float]


def test_rewards_see_what_was_drawn_and_the_prompts_row():
    row = {"answer": "3"}
    asked = Prompt("id", "1+2=", (1, 2), False, (), extra=row, where="a.jsonl:4")
    cut = answer_of(asked, Sample(" 3", (7, 8), False, 2))
    assert (cut.prompt, cut.completion, cut.text) == ("1+2=", " 3", " 3")
    assert (cut.prompt_ids, cut.ids, cut.finished, cut.tokens) == ((1, 2), (7, 8), "length", 2)
    assert (cut.extra, cut.name, cut.messages) == (row, "a.jsonl:4", ())
    written = answer_of(prompt("1+2=", continues=True), Sample(" 3", (7, 0), True, 1))
    assert (written.text, written.finished, written.tokens) == ("1+2= 3", "end", 1)
    assert (written.name, written.messages) == ("p", None)
