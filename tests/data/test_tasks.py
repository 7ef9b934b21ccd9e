"""Procedural tasks: right answers, every problem once, and the way into rows."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from accord.config.data import HeldoutConfig, SourceConfig
from accord.config.tasks import TASKS as OPTIONS
from accord.data.account import Account
from accord.data.check import check_file
from accord.data.load import load_rows
from accord.data.tasks import GYM, TASKS, read_task
from accord.errors import AccordError


def rows(name: str, **options) -> list[dict]:
    return [dict(raw.mapping) for raw in read_task(name, options)]


def test_every_task_has_its_options():
    assert {*TASKS, GYM} == OPTIONS.keys()


@given(seed=st.integers(0, 10**6), digits=st.integers(1, 4), terms=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_sums_are_right(seed, digits, terms):
    for row in rows("addition", count=20, seed=seed, digits=digits, terms=terms):
        numbers = [int(part) for part in row["prompt"].rstrip("=").split("+")]
        assert len(numbers) == terms and all(n < 10**digits for n in numbers)
        assert row["answer"] == str(sum(numbers))
        assert row["completion"] == f" {row['answer']}"
        assert row["text"] == row["prompt"] + row["completion"]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_letters_are_sorted_and_reversed(seed):
    for row in rows("sort", count=20, seed=seed, length=2, longest=4):
        letters = row["prompt"].removeprefix("sort ").rstrip(":")
        assert row["answer"] == "".join(sorted(letters)) and 2 <= len(letters) <= 4
    for row in rows("reverse", count=20, seed=seed, length=3):
        letters = row["prompt"].removeprefix("reverse ").rstrip(":")
        assert row["answer"] == letters[::-1] and len(letters) == 3


def test_letters_sort_in_the_order_of_their_alphabet():
    for row in rows("sort", count=10, length=3, alphabet="zyxwv"):
        assert row["answer"] == "".join(sorted(row["answer"], reverse=True))


# unordered pairs from 0 to 9; sets of 2 letters of 4; strings of 1 or 2 of 3
@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("addition", {"high": 9}, 55),
        ("addition", {"low": 3, "high": 5, "terms": 3}, 10),
        ("sort", {"alphabet": "abcd", "length": 2}, 6),
        ("reverse", {"alphabet": "abc", "length": 1, "longest": 2}, 12),
    ],
)
def test_every_problem_can_be_drawn_and_none_twice(name, options, most):
    found = rows(name, count=most, **options)
    assert len({row["prompt"] for row in found}) == most
    with pytest.raises(AccordError, match=f"only {most} different problems, {most + 1}"):
        rows(name, count=most + 1, **options)


def test_terms_stand_in_one_order_only():
    pairs = {frozenset(r["prompt"][:-1].split("+")) for r in rows("addition", count=55, high=9)}
    assert len(pairs) == 55


def test_more_problems_begin_with_the_same_ones_and_a_seed_gives_others():
    few, many = rows("addition", count=5), rows("addition", count=50)
    assert many[:5] == few == rows("addition", count=5)
    assert rows("addition", count=5, seed=1) != few


@pytest.mark.parametrize(
    ("name", "prompt", "mistaken"),
    [
        # 5 + 7 is 12, of which 2 stays; 1 + 9 is 10, of which 0 stays
        ("addition", "15+97=", " 2"),
        ("addition", "12+34=", " 46"),
        ("sort", "sort dacb:", " dcba"),
        ("reverse", "reverse abcd:", " abcd"),
    ],
)
def test_the_typical_mistake(name, prompt, mistaken):
    options = {
        "addition": {"count": 5050},
        "sort": {"alphabet": "abcd", "length": 4, "count": 1},
        "reverse": {"alphabet": "abcd", "length": 4, "count": 256},
    }[name]
    for seed in range(99):  # until the one that is looked for is drawn in this order
        found = {r["prompt"]: r for r in rows(name, mistakes=1.0, seed=seed, **options)}
        if prompt in found:
            break
    assert found[prompt]["completion"] == mistaken
    assert found[prompt]["text"] == prompt + mistaken


def test_demonstrations_with_mistakes_are_of_the_same_problems_and_have_the_right_answer():
    sound, flawed = rows("sort", count=2000), rows("sort", count=2000, mistakes=0.3)
    assert [r["prompt"] for r in sound] == [r["prompt"] for r in flawed]
    assert [r["answer"] for r in sound] == [r["answer"] for r in flawed]
    assert all(r["completion"] == f" {r['answer']}" for r in sound)
    wrong = [r for r in flawed if r["completion"] != f" {r['answer']}"]
    assert all(r["completion"] == f" {r['answer'][::-1]}" for r in wrong)
    assert 500 < len(wrong) < 700  # 600 are expected, with a standard deviation of 20
    more = rows("sort", count=2000, mistakes=0.6)
    assert all(
        a["completion"] == b["completion"] for a, b in zip(more, flawed, strict=True) if b in wrong
    )


def source(**changes) -> SourceConfig:
    settings = {"source": "task:addition", "options": {"count": 400}}
    return SourceConfig(**(settings | changes))


def load(kind, tmp_path, *sources, account=None):
    heldout = HeldoutConfig(fraction=0.1)
    return load_rows(sources, heldout, kind, 1, account or Account(), tmp_path)


def test_what_is_held_out_is_the_same_for_every_stage_and_keeps_its_answer(tmp_path):
    account = Account()
    asked = load("prompt", tmp_path, source(), account=account)
    answered = load("chat", tmp_path, source())
    read = load("text", tmp_path, source(fields={"text": "text"}))
    begun = {row.prompt[0].content for row in asked.heldout}
    assert len(begun) == len(asked.heldout) > 10
    assert begun == {row.prompt[0].content for row in answered.heldout}
    assert begun == {row.text.split("=")[0] + "=" for row in read.heldout}
    assert len(asked.train) + len(asked.heldout) == 400
    assert account.to_json()["task:addition"]["kept"] == 400
    for row in asked.heldout + answered.train:
        left, right = row.prompt[0].content.rstrip("=").split("+")
        assert row.extra["answer"] == str(int(left) + int(right))
        assert row.where.startswith("task:addition:")


def test_a_chat_is_asked_by_naming_the_columns(tmp_path):
    [row] = load(
        "chat",
        tmp_path,
        source(options={"count": 1}, fields={"instruction": "prompt", "output": "completion"}),
    ).train
    assert [m.role for m in row.prompt + row.completion] == ["user", "assistant"]
    assert "answer" in row.extra


def test_a_task_can_be_checked_like_a_file(tmp_path):
    report = check_file("task:sort", tmp_path)
    assert report.ok and report.reading.read == 1000 and report.repeats.exact.count == 0
    with pytest.raises(AccordError, match="no task 'adition'") as error:
        check_file("task:adition", tmp_path)
    assert "did you mean 'addition'?" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "task:adition"}, "did you mean 'addition'?"),
        ({"source": "task:addition/x"}, "write task:addition"),
        ({"source": "task:reasoning_gym"}, "write task:reasoning_gym/<task>"),
        ({"options": {"cuont": 3}}, "did you mean 'count'?"),
        ({"options": {"count": 0}}, "expected a whole number above 0"),
        ({"options": {"mistakes": 2}}, "expected a number at least 0 and at most 1"),
        ({"options": {"low": 5, "high": 3}}, "low 5 is above high 3"),
        ({"source": "task:sort", "options": {"alphabet": "abb"}}, "repeats a letter"),
        ({"source": "task:sort", "options": {"length": 27}}, "more than the alphabet has"),
        ({"source": "task:reverse", "options": {"longest": 2}}, "below length 5"),
        ({"source": "rows.jsonl", "options": {"count": 3}}, "only a source task:name"),
    ],
)
def test_a_mistake_is_told_when_the_recipe_is_read(changes, said):
    with pytest.raises(ValidationError) as error:
        source(**changes)
    assert said in str(error.value)


class TestReasoningGym:
    def test_rows_carry_what_their_scorer_needs(self):
        from reasoning_gym.factory import get_score_answer_fn

        score = get_score_answer_fn("word_sorting")
        for row in rows("reasoning_gym/word_sorting", count=5, seed=3):
            entry = json.loads(json.dumps(row["entry"]))
            assert entry == row["entry"]
            assert score(row["answer"], entry) == 1.0 > score("no answer", entry)
            assert row["text"] == row["prompt"] + row["answer"]

    def test_count_seed_and_its_own_options_reach_the_task(self):
        name, settings = "reasoning_gym/chain_sum", {"count": 6, "min_terms": 4, "max_terms": 4}
        found = rows(name, **settings)
        assert len(found) == 6 and found == rows(name, **settings)
        assert found != rows(name, **settings, seed=1)
        assert all(row["entry"]["metadata"]["num_terms"] == 4 for row in found)

    def test_a_task_without_a_model_answer_gives_prompts(self, tmp_path):
        graph = source(source="task:reasoning_gym/graph_color", options={"count": 3})
        assert [row.completion for row in load("prompt", tmp_path, graph).train] == [()] * 3

    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [
            ("leg_countin", {}, "did you mean 'leg_counting'?"),
            ("leg_counting", {"min_animal": 2}, "did you mean 'min_animals'?"),
            ("leg_counting", {"min_animals": 0}, "refuses its options"),
            # its scorer compares tuples, which JSON turns into lists
            ("rearc", {}, "judges differently by an entry that was JSON"),
        ],
    )
    def test_mistakes(self, name, options, said):
        with pytest.raises(AccordError) as error:
            rows(f"reasoning_gym/{name}", count=1, **options)
        assert said in str(error.value)

    def test_a_missing_library_names_the_pip_line(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "reasoning_gym", None)
        with pytest.raises(AccordError, match=r"pip install 'accord\[tasks\]'"):
            rows("reasoning_gym/leg_counting")
