"""Weighted sums of rewards."""

import pytest
from helpers import answer, term
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.rewards import RewardTerm
from accord.errors import AccordError
from accord.rewards import rewards_of
from accord.rewards.answer import Answer


def no_models(name: str):
    raise AssertionError(f"the reward model {name} was asked for")


def test_the_total_is_the_weighted_sum_of_the_parts():
    terms = [
        term("length", weight=0.5),
        term("regex", weight=-2.0, pattern="good"),
        RewardTerm(model="rm", weight=3.0),
    ]
    loaded = []

    def load_model(name: str):
        loaded.append(name)
        return lambda answers: [float(len(a.completion)) for a in answers]

    rewards = rewards_of(terms, load_model)
    scored = rewards([answer("good"), answer("bad", finished="length")])
    assert loaded == ["rm"]
    assert scored.parts == {"length": [4.0, 5.0], "regex": [1.0, 0.0], "rm": [4.0, 3.0]}
    assert scored.total == [0.5 * 4 - 2 + 3 * 4, 0.5 * 5 + 3 * 3]


def test_terms_of_one_name_stay_apart():
    terms = [term("regex", pattern="a"), term("regex", pattern="b", weight=10.0)]
    scored = rewards_of(terms, no_models)([answer("b")])
    assert scored.parts == {"regex": [0.0], "regex 2": [1.0]}
    assert scored.total == [10.0]


@given(st.lists(st.text(max_size=8), max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_each_answer_is_judged_alone_and_keeps_its_place(texts, data):
    terms = [term("vader"), term("length", target=3), term("regex", pattern="[aeiou]", weight=0.1)]
    rewards = rewards_of(terms, no_models)
    answers = [answer(text, ids=tuple(range(len(text) + 1))) for text in texts]
    order = data.draw(st.permutations(range(len(answers))))
    mixed = rewards([answers[i] for i in order])
    assert mixed.total == [rewards([answers[i]]).total[0] for i in order]
    assert all(type(value) is float for value in mixed.total)


def test_a_reward_that_loses_an_answer_is_refused():
    rewards = rewards_of([RewardTerm(model="rm")], lambda _: lambda answers: [1.0])
    with pytest.raises(AccordError, match="'rm' gave 1 numbers for 2"):
        rewards([answer(), answer()])


def test_the_text_of_a_continuation_begins_with_its_prompt():
    asked = Answer("This is", " a triumph", (1,), (2, 3), "length", continues=False)
    begun = Answer("This is", " a triumph", (1,), (2, 3), "length", continues=True)
    assert (asked.text, begun.text) == (" a triumph", "This is a triumph")


def test_what_ended_an_answer_is_none_of_its_tokens():
    counts = {end: answer(ids=(4, 5), finished=end).tokens for end in ("end", "stop", "length")}
    assert counts == {"end": 1, "stop": 1, "length": 2}
