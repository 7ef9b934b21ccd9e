"""Corpus statistics by hand and against brute force."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.corpus import (
    copied_share,
    corpus_statistics,
    distinct,
    ngrams,
    strayed,
)
from accord.evaluation.samples import Prompt, Sample


def test_distinct_2_by_hand():
    # bigrams: a-b b-a a-b | a-b : four, of which a-b and b-a differ
    assert distinct(["a b a b", "A b"], 2) == 2 / 4
    assert distinct(["one", ""], 2) == 0.0


def test_ngrams_do_not_run_past_the_end():
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []


def test_corpus_statistics_by_hand():
    samples = [
        Sample("good film", (1, 2, 0), True, 2),
        Sample(" good film", (1, 2), False, 2),
        Sample("", (0,), True, 0),
        Sample("a bad film", (4, 5, 6, 0), True, 3),
    ]
    got = corpus_statistics(samples)
    assert got == {
        "distinct_2": 3 / 4,  # good-film twice, a-bad, bad-film
        "unique": 3 / 4,
        "ended": 3 / 4,
        "length": 7 / 4,
        "empty": 1 / 4,
    }


@pytest.mark.parametrize(
    ("asked", "written", "share", "scripts"),
    [
        ("How is it?", "good 좋다", 2 / 6, ["Hangul"]),
        ("How is it?", "good", 0.0, []),
        ("How is it in 한국?", "good 좋다", 0.0, []),
        ("Say it:", "좋다 좋다 это", 1.0, ["Hangul", "Cyrillic"]),
    ],
)
def test_letters_in_scripts_that_the_prompt_does_not_use(asked, written, share, scripts):
    prompts = [Prompt("0", asked, (1,), False), Prompt("1", "1 + 1 =", (1,), False)]
    samples = [Sample(written, (1,), True, 1), Sample("два", (1,), True, 1)]
    letters = sum(map(str.isalpha, written))
    assert strayed(prompts, samples) == {"share": share, "letters": letters, "scripts": scripts}


def test_copies_by_hand():
    corpus = ["one two three four five six seven EIGHT nine", "never joined"]
    written = {
        "copy": ["x one two three four five six seven eight"],  # 2 runs of 8, one of them copied
        "own": ["a b c d e f g h i"],
        "short": ["one two"],
    }
    assert copied_share(written, corpus) == {"copy": 0.5, "own": 0.0, "short": 0.0}


def test_a_run_across_two_training_texts_is_no_copy():
    assert copied_share({"p": ["a b c"]}, ["a b", "c"], n=3) == {"p": 0.0}


texts = st.lists(st.text("ab ", max_size=12), max_size=5)


@given(texts, texts)
@settings(max_examples=60, deadline=None)
def test_copied_share_equals_brute_force(written, corpus):
    n = 2
    runs = [t.split()[i : i + n] for t in written for i in range(len(t.split()) - n + 1)]
    lines = [" " + " ".join(t.split()) + " " for t in corpus]
    hits = sum(any(f" {' '.join(run)} " in line for line in lines) for run in runs)
    want = hits / len(runs) if runs else 0.0
    assert copied_share({"p": written}, corpus, n)["p"] == pytest.approx(want)
