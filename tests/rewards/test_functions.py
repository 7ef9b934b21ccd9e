"""Each reward function by its own words; names and options that are wrong."""

import sys

import pytest
from helpers import answer, term
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from accord.config.functions import FUNCTIONS as OPTIONS
from accord.config.rewards import RewardTerm
from accord.errors import AccordError
from accord.rewards.functions import FUNCTIONS, reward_function, same_answer


def worth(function: str, given, **options) -> float:
    [value] = reward_function(term(function, **options))([given])
    assert type(value) is float
    return value


def test_every_function_has_its_options():
    assert FUNCTIONS.keys() == OPTIONS.keys()


def test_vader_judges_the_whole_text_of_a_continuation():
    begun = {"prompt": "This is not a", "completion": " good film"}
    assert worth("vader", answer(**begun)) > 0.4
    assert worth("vader", answer(**begun, continues=True)) < 0


def test_length_counts_tokens_without_the_one_that_ended():
    ended, cut = answer(), answer(finished="length")
    assert (worth("length", ended), worth("length", cut)) == (4.0, 5.0)
    assert worth("length", cut, target=7) == worth("length", cut, target=3) == -2.0
    assert [worth("length", cut, max=most) for most in (3, 5, 9)] == [-2.0, 0.0, 0.0]


def test_regex_searches_or_matches_the_whole_text():
    digits, mixed = answer("042"), answer("is 42")
    assert worth("regex", mixed, pattern="[0-9]+") == 1.0
    assert worth("regex", mixed, pattern="[0-9]+", match="full") == 0.0
    assert worth("regex", digits, pattern="[0-9]+", match="full") == 1.0
    assert worth("regex", answer("b", "a", continues=True), pattern="ab", match="full") == 1.0


ENGLISH = "The committee has not yet decided what it is going to do about the bridge."
GERMAN = "Der Ausschuss hat noch nicht entschieden, was mit der Brücke geschehen soll."


def test_language_is_a_probability_or_a_match():
    both = [answer(ENGLISH), answer(GERMAN)]
    english, german = reward_function(term("language", code="en"))(both)
    assert 1 >= english > 0.9 and 0 <= german < 0.1
    assert reward_function(term("language", code="de", score="match"))(both) == [0.0, 1.0]
    # no text at all is as likely in each of two languages
    assert worth("language", answer(""), code="de", among=["en"]) == pytest.approx(0.5)


def test_an_unknown_language_is_refused_before_anything_is_judged():
    with pytest.raises(AccordError, match="No language has the code 'english'"):
        reward_function(term("language", code="english"))


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        (" 12\n", "12", True),
        ("12.0", "12", True),
        ("+1,200", "1200", True),
        ("1e3", "1000", True),
        ("0.1", ".10", True),
        ("-0", "0", True),
        ("12", "13", False),
        ("1,2", "12", False),
        ("12.", "12", True),
        ("NaN", "NaN", True),
        (".", ".", True),
        ("", "0", False),
        ("e5", "e5", True),
        ("1e999999999999999999999", "1e999999999999999999999", True),
        ("1_0", "10", False),
        ("Paris ", "Paris", True),
        ("paris", "Paris", False),
        ("12 apples", "12", False),
        ("٣", "3", False),
        # floats would call them equal
        ("10000000000000000000001", "10000000000000000000000", False),
    ],
)
def test_answers_are_compared_as_numbers_or_letter_by_letter(given, wanted, same):
    assert same_answer(given, wanted) is same
    assert same_answer(wanted, given) is same


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1e9, max_value=1e9))
@settings(max_examples=60, deadline=None)
def test_a_number_equals_itself_however_it_is_written(number):
    for written in (f"{number}", f"{number:,}", f"{number}000", f" {number} "):
        assert same_answer(written, str(number))
    assert not same_answer(f"{number}1", str(number))


@given(st.text("0123+-.,eE ²٣", max_size=8), st.text("0123+-.,eE ", max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_can_be_compared(given, wanted):
    assert same_answer(given, wanted) is same_answer(wanted, given)
    assert same_answer(given, given)


def test_exact_compares_the_completion_with_a_column():
    assert worth("exact", answer(" 3", extra={"answer": "3"})) == 1.0
    assert worth("exact", answer("3.0", extra={"result": 3}), column="result") == 1.0
    assert worth("exact", answer("4", extra={"answer": 3})) == 0.0
    # what was asked is no part of what is compared
    assert worth("exact", answer("3", "1+2=", continues=True, extra={"answer": "3"})) == 1.0


def test_a_missing_column_names_the_row_and_the_column_that_may_be_meant():
    with pytest.raises(AccordError, match="no column 'answer'") as error:
        worth("exact", answer("3", extra={"anwser": "3"}))
    assert "tasks.jsonl:7" in error.value.where
    assert error.value.fix == "did you mean 'anwser'?"


@pytest.mark.parametrize(
    ("given", "right", "value"),
    [
        (r"so it is $\frac{2}{4}$", r"\frac{1}{2}", 1.0),
        (r"\boxed{x^2+2x+1}", "$(x+1)^2$", 1.0),
        ("The answer is 0.5.", r"\frac{1}{2}", 1.0),
        ("12", 12, 1.0),
        ("13", 12, 0.0),
        ("", 12, 0.0),
        ("I don't know", r"\sqrt{2}", 0.0),
    ],
)
def test_math_verify_compares_what_expressions_are_worth(given, right, value):
    assert worth("math_verify", answer(given, extra={"answer": right})) == value


def test_a_right_answer_that_is_no_mathematics_is_an_error_not_a_zero():
    with pytest.raises(AccordError, match="holds no mathematical answer: many") as error:
        worth("math_verify", answer("3", extra={"answer": "many"}))
    assert "tasks.jsonl:7" in error.value.where


def test_math_verify_says_nothing_of_its_own_time_limits(caplog):
    worth("math_verify", answer("3", extra={"answer": "3"}))
    assert not caplog.records


def test_reasoning_gym_judges_by_the_rows_entry():
    from accord.data.tasks import read_task

    name = "word_sorting"
    for raw in read_task(f"reasoning_gym/{name}", {"count": 3}):
        right = worth(
            f"reasoning_gym:{name}", answer(raw.mapping["answer"] + "\n", extra=raw.mapping)
        )
        wrong = worth(f"reasoning_gym:{name}", answer("zebra", extra=raw.mapping))
        assert right == 1.0 > wrong
    with pytest.raises(AccordError, match="no column 'entry'"):
        worth(f"reasoning_gym:{name}", answer("zebra"))
    with pytest.raises(AccordError, match="no task 'word_sortin'") as error:
        reward_function(term("reasoning_gym:word_sortin"))
    assert error.value.fix == "did you mean 'word_sorting'?"


OWN = '''
"""Rewards of a user."""


def vowels(answer, each=1):
    return each * sum(letter in "aeiou" for letter in answer.completion)


def fails(answer):
    raise KeyError("no such thing")
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("own_rewards", None)


def test_a_function_of_ones_own_is_found_beside_the_working_directory(own):
    before = list(sys.path)
    assert worth("python:own_rewards:vowels", answer("a review")) == 4.0
    assert worth("python:own_rewards:vowels", answer("a review"), each=2.5) == 10.0
    assert sys.path == before


def test_the_path_comes_before_the_working_directory(own, tmp_path, monkeypatch):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "own_rewards.py").write_text("def vowels(answer): return 9\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    assert worth("python:own_rewards:vowels", answer("a review")) == 9.0


def test_faults_of_ones_own_module_are_told(own, tmp_path):
    with pytest.raises(AccordError, match="has no function 'vowel'") as error:
        reward_function(term("python:own_rewards:vowel"))
    assert error.value.fix == "did you mean 'vowels'?"
    with pytest.raises(AccordError, match="There is no module 'own_reward'") as error:
        reward_function(term("python:own_reward:vowels"))
    assert "own_reward.py" in error.value.fix
    with pytest.raises(AccordError, match=r"failed: KeyError: 'no such thing'"):
        worth("python:own_rewards:fails", answer())
    (tmp_path / "broken_rewards.py").write_text("import missing_library\n")
    with pytest.raises(AccordError, match="There is no module 'missing_library'"):
        reward_function(term("python:broken_rewards:x"))
    (tmp_path / "faulty_rewards.py").write_text("1 / 0\n")
    with pytest.raises(AccordError, match="cannot be imported: ZeroDivisionError"):
        reward_function(term("python:faulty_rewards:x"))


@pytest.mark.parametrize(
    ("function", "module", "options"),
    [
        ("vader", "vaderSentiment.vaderSentiment", {}),
        ("language", "py3langid.langid", {"code": "en"}),
        ("math_verify", "math_verify", {}),
        ("reasoning_gym:leg_counting", "reasoning_gym", {}),
    ],
)
def test_a_missing_library_names_the_pip_line(function, module, options, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AccordError, match=r"pip install 'accord\[(rewards|tasks)\]'"):
        reward_function(term(function, **options))


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("vadr", {}, "did you mean 'vader'?"),
        ("zzz", {}, "known: vader, length, regex"),
        ("pyton:a:b", {}, "did you mean 'python'?"),
        ("python:a", {}, "write python:module:function"),
        ("python:a:b:c", {}, "write python:module:function"),
        ("reasoning_gym", {}, "write reasoning_gym:<task>"),
        ("vader:x", {}, "write vader"),
        ("vader", {"weigth": 2}, "it takes none"),
        ("regex", {}, "needs the option 'pattern'"),
        ("regex", {"patern": "x"}, "did you mean 'pattern'?"),
        ("regex", {"pattern": "("}, "not a regular expression"),
        ("regex", {"pattern": "x", "match": "ful"}, "expected one of search, full"),
        ("length", {"target": 1, "max": 2}, "give target or max, not both"),
        ("length", {"max": -1}, "expected a whole number at least 0"),
        ("language", {}, "needs the option 'code'"),
    ],
)
def test_a_mistake_is_told_when_the_recipe_is_read(function, options, said):
    with pytest.raises(ValidationError) as error:
        term(function, **options)
    assert said in str(error.value)


def test_a_reward_model_takes_no_options():
    with pytest.raises(ValidationError, match="takes no options"):
        RewardTerm(model="rm", options={"column": "answer"})
