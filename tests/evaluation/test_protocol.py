"""The same prompts, seeds and settings for every policy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.generate import SamplingConfig
from accord.config.stages import PromptsConfig
from accord.data.rows import ChatRow, LabelRow, PairRow, TextRow
from accord.errors import AccordError
from accord.evaluation.protocol import fixed_prompts, opening, sample_policy, seeds, untouched
from accord.evaluation.samples import Prompt
from accord.text.messages import Message

USER = (Message("user", "Review it."),)
REVIEW = (Message("assistant", "This is one of the best films."),)
WORSE = (Message("assistant", "It is dull and slow."),)


def config(**settings_) -> PromptsConfig:
    return PromptsConfig(**{"data": ({"source": "x.txt"},), **settings_})


def test_opening_keeps_the_words_as_they_stand():
    assert opening("  This  is\none film", 3) == "This  is\none"
    assert opening("This is one", 3) is None  # nothing would be left to write
    assert opening("", 1) is None


@given(st.lists(st.text("abक\u094d.", min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_opening_is_the_first_words_or_nothing(words):
    for count in range(1, 8):
        want = " ".join(words[:count]) if len(words) > count else None
        assert opening(" ".join(words), count) == want


def test_prompts_come_in_the_order_of_their_content(make_policy):
    policy = make_policy("sft", 1)
    rows = [TextRow(f"Film number {i} is good") for i in range(20)]
    chosen = fixed_prompts(config(first_words=3, count=5), rows, policy)
    again = fixed_prompts(config(first_words=3, count=5), rows[::-1], policy)
    assert chosen == again and len(chosen) == 5
    wanted = sorted(rows, key=lambda row: row.id)[:5]
    assert [p.text for p in chosen] == [" ".join(r.text.split()[:3]) for r in wanted]


def test_equal_openings_are_used_once_and_short_texts_not_at_all(make_policy):
    rows = [TextRow("A film that ends"), TextRow("A film that starts"), TextRow("Too short")]
    [prompt] = fixed_prompts(config(first_words=3), rows, make_policy("sft", 1))
    assert prompt.text == "A film that" and prompt.continues


def test_a_continuation_starts_inside_the_response(make_policy, tokenizer):
    policy = make_policy("sft", 1)
    chat = ChatRow(prompt=USER, completion=REVIEW)
    [prompt] = fixed_prompts(config(first_words=3), [chat], policy)
    assert prompt.text == "This is one"
    assert tokenizer.decode(prompt.ids[1:]) == "Review it.This is one"
    [bare] = fixed_prompts(config(first_words=3), [TextRow("This is one film")], policy)
    assert bare.ids == (tokenizer.start_id, *tokenizer.encode("This is one"))


@pytest.mark.parametrize(
    "row",
    [
        ChatRow(prompt=USER, completion=REVIEW),
        PairRow(prompt=USER, chosen=REVIEW, rejected=WORSE),
        LabelRow(prompt=USER, completion=REVIEW, label=True),
    ],
)
def test_rows_with_turns_give_their_prompt_or_an_opening(row, make_policy):
    policy = make_policy("sft", 1)
    [asked] = fixed_prompts(config(), [row], policy)
    assert (asked.text, asked.continues) == ("Review it.", False)
    [begun] = fixed_prompts(config(first_words=2), [row], policy)
    assert (begun.text, begun.continues) == ("This is", True)


def test_prompts_keep_the_columns_and_the_place_of_their_row(make_policy):
    row = ChatRow(prompt=USER, completion=REVIEW, extra={"answer": "5"}, where="a.jsonl:2")
    [asked] = fixed_prompts(config(), [row], make_policy("sft", 1))
    assert (asked.extra, asked.where, asked.messages) == ({"answer": "5"}, "a.jsonl:2", USER)
    [begun] = fixed_prompts(config(first_words=2), [row], make_policy("sft", 1))
    assert (begun.extra, begun.messages) == ({"answer": "5"}, USER)
    [alone] = fixed_prompts(config(first_words=2), [TextRow("So it is")], make_policy("sft", 1))
    assert (alone.extra, alone.messages) == ({}, ())


def test_written_prompts_come_first(make_policy, tokenizer):
    policy = make_policy("sft", 1)
    found = fixed_prompts(
        config(texts=("Hello", "You"), first_words=1), [TextRow("So it is")], policy
    )
    assert [p.text for p in found] == ["Hello", "You", "So"]
    assert [p.continues for p in found] == [False, False, True]


def test_plain_text_without_first_words_is_refused(make_policy):
    with pytest.raises(AccordError, match="no prompt of its own") as error:
        fixed_prompts(config(), [TextRow("A film", where="a.txt:3")], make_policy("sft", 1))
    assert "a.txt:3" in str(error.value) and "first_words" in str(error.value)


def test_no_prompt_left_is_refused(make_policy):
    with pytest.raises(AccordError, match="No evaluation prompt is left"):
        fixed_prompts(config(first_words=9), [TextRow("too short")], make_policy("sft", 1))


def prompts_of(*names: str) -> list[Prompt]:
    return [Prompt(name, name, (290 - 2, 65 + i), True) for i, name in enumerate(names)]


def test_seeds_follow_the_prompt_not_its_place():
    both = seeds(prompts_of("a", "b"), 2, seed=1)
    assert seeds(prompts_of("b"), 2, seed=1) == both[2:]
    assert len(set(both + seeds(prompts_of("a", "b"), 2, seed=2))) == 8
    assert all(s >= 0 for s in both)


def test_the_same_policy_gives_the_same_samples(make_policy):
    sampling = SamplingConfig(max_new_tokens=6)
    first, again = (
        sample_policy(make_policy("sft", 1), prompts_of("a", "b"), sampling, 2, seed=5)
        for _ in range(2)
    )
    assert first == again and len(first) == 4
    assert first[0] != first[1]
    for sample in first:
        assert sample.ended == (sample.length < len(sample.ids))
        assert sample.ended or sample.length == 6


def test_what_ended_a_completion_is_no_part_of_its_length(make_policy):
    sampling = SamplingConfig(max_new_tokens=12, stop=("e",))
    names = [chr(65 + i) for i in range(12)]
    drawn = sample_policy(make_policy("sft", 1), prompts_of(*names), sampling, 1, seed=5)
    assert {sample.ended for sample in drawn} == {True, False}
    assert all(sample.length == len(sample.ids) - sample.ended for sample in drawn)


def test_kl_is_measured_on_the_policy_itself():
    shown = SamplingConfig(temperature=0.7, top_p=0.9, top_k=5, stop=("x",), max_new_tokens=9)
    assert untouched(shown) == SamplingConfig(max_new_tokens=9)
