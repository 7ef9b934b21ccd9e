"""Each measure of an audit on answers of which its value is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judges import BAD, GOOD, TextJudge, about, constant, goodness, length, pair, pairs

from accord.data.rows import TextRow
from accord.errors import AccordError
from accord.evaluation.audit import accuracy as accuracies
from accord.evaluation.audit.accuracy import calibration, cross_fitted
from accord.evaluation.audit.document import Subject, audit
from accord.evaluation.audit.invariance import batching, white_space
from accord.evaluation.audit.item import Item, Scores
from accord.evaluation.audit.lengths import dependence, repetition
from accord.evaluation.audit.pairs import Audited
from accord.evaluation.audit.probes import PROBES, sensitivity
from accord.evaluation.audit.shorts import NONSENSE, QUESTIONS, short_answers
from accord.evaluation.audit.truth import truth_of_pairs
from accord.text.messages import Message


def scored(score, rows) -> tuple[Audited, Scores]:
    scores = Scores(TextJudge(score))
    return Audited.of(rows, scores), scores


def item(content: str, prompt: str = "") -> Item:
    return Item((Message("user", prompt),) if prompt else (), (Message("assistant", content),))


def test_each_distinct_answer_is_scored_once():
    judge = TextJudge(goodness)
    scores = Scores(judge)
    texts = [item(text) for text in ("a b", "good", "a b", "good")]
    assert scores(texts).tolist() == [0, 1, 0, 1]
    assert scores(texts[:2]).tolist() == [0, 1]
    assert judge.calls == 2


def test_a_score_that_is_no_number_names_the_answer():
    with pytest.raises(AccordError, match="no finite number") as error:
        Scores(TextJudge(lambda _: float("nan")))([item("what is this")])
    assert "what is this" in error.value.where


def test_pairs_that_leave_no_room_are_left_out():
    rows = [pair("a b c d", "good e", "bad e"), pair("a", "good e", "bad e")]
    document = audit(TextJudge(goodness, limit=3), Subject(rows))
    assert (document["pairs"]["read"], document["pairs"]["scored"]) == (2, 1)
    with pytest.raises(AccordError, match="None of the 1 pairs"):
        audit(TextJudge(goodness, limit=3), Subject(rows[:1]))


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0), ("a b", 0), ("a b c a b c", 0.25), ("x x x x x", 2 / 3), ("a b c d e", 0)],
)
def test_repetition_is_the_share_of_triples_seen_before(text, value):
    # a b c, b c a, c a b, a b c: one of four
    assert repetition(text) == pytest.approx(value)


def test_repetition_at_equal_preference_is_found():
    rows = []
    for number in range(40):
        often, once = "so it is " * 4, " ".join(f"{number}w{i}" for i in range(12))
        rows.append(pair(f"p {number}", *((often, once) if number % 2 else (once, often))))
    found, scores = scored(lambda i: repetition(i.text), rows)
    tie = dependence(found, [], scores)["repetition"]
    assert tie["part"]["value"] == pytest.approx(1)
    assert tie["part"]["ci95"][0] > 0.9


def test_given_the_rating_length_explains_nothing_that_the_rating_does():
    # score = rating; the better texts are the longer ones
    rated = [(item(" ".join(["w"] * (3 + 2 * (n % 5) + n % 2))), float(n % 5)) for n in range(60)]
    worth = {text: rating for text, rating in rated}
    found, scores = scored(lambda i: worth.get(i, 0.0) + 0.01 * (len(i.text) % 3), pairs(12))
    tie = dependence(found, rated, scores)["length"]["given_rating"]
    raw = np.corrcoef([r for _, r in rated], [len(t.text.split()) for t, _ in rated])[0, 1]
    assert raw > 0.9
    assert abs(tie["value"]) < 0.2
    assert (tie["rows"], tie["prompts"]) == (60, 10)  # ten texts, six times each


def test_calibration_of_a_judge_that_is_always_right_and_unsure():
    found, _ = scored(lambda i: 0.0 + (GOOD in i.text.split()), pairs(40))
    figures = calibration(found)
    sure = 1 / (1 + np.exp(-1))
    assert figures["ece"]["value"] == pytest.approx(1 - sure)
    assert figures["over_confidence"]["value"] == pytest.approx(sure - 1)
    assert figures["table"] == [{"confidence": pytest.approx(sure), "accuracy": 1.0, "pairs": 40}]


def test_the_cross_fitted_words_find_what_words_give_away():
    pytest.importorskip("sklearn")
    found, _ = scored(length, pairs(60))
    figures = cross_fitted(found)
    assert figures["accuracy"] > 0.95
    assert figures["margin_over"] == pytest.approx(0.5 - figures["accuracy"])
    assert "fewer than 40" in cross_fitted(scored(length, pairs(39))[0])["left_out"]


def test_the_cross_fitted_words_have_not_seen_the_pairs_they_score():
    pytest.importorskip("sklearn")
    letters = np.random.default_rng(0).choice(list("abcdefgh"), size=(60, 2, 12))
    rows = [pair(f"p {n}", *("".join(side) for side in both)) for n, both in enumerate(letters)]
    # the same pairs in several copies: prompts are kept together
    figures = cross_fitted(scored(length, [row for row in rows for _ in range(2)])[0])
    assert 0.25 < figures["accuracy"] < 0.75  # learnt by heart it would be 1


def test_without_scikit_learn_there_is_no_baseline(monkeypatch):
    monkeypatch.setattr(accuracies, "find_spec", lambda name: None)
    assert "not installed" in cross_fitted(scored(length, pairs(60))[0])["left_out"]


def test_white_space_that_turns_pairs_round_is_counted():
    rows = [pair(f"p {n}", f"{GOOD} {n}", f"{BAD} {n}") for n in range(10)]

    def spoilt(i: Item) -> float:
        # a blank at the end of every other prompt's answer takes the lead away
        even = int(i.text.split()[1]) % 2 == 0
        return goodness(i) - 3 * (even and i.text.endswith("  "))

    figures = white_space(*scored(spoilt, rows))
    assert figures["trailing_space"]["value"] == 0.5
    assert figures["trailing_space"]["change"] == pytest.approx(1.5 / 1.0)
    assert figures["trailing_newline"]["value"] == 0.0
    assert "left_out" in figures["doubled_newlines"]


def test_doubled_newlines_are_tried_where_there_is_one():
    rows = [pair(f"p {n}", "good\nx" if n < 3 else "good x", f"bad {n}") for n in range(8)]
    figures = white_space(*scored(lambda i: goodness(i) - 5 * ("\n\n" in i.text), rows))
    assert figures["doubled_newlines"]["rows"] == 3
    assert figures["doubled_newlines"]["value"] == 1.0


def test_order_in_the_batch_is_noticed():
    class Ordered(TextJudge):
        def together(self, items):
            return [self.score(one) + 0.5 * at for at, one in enumerate(items)]

    scores = Scores(Ordered(goodness))
    figures = batching(Audited.of(pairs(8), scores), None, scores)
    assert figures["order"] == pytest.approx(0.5 * 15)
    assert figures["padding"] == 0.0
    assert figures["rows"] == 16


def test_rounding_is_allowed_by_the_spread_or_by_the_size_of_scores():
    def tolerance(score) -> float:
        found, scores = scored(score, pairs(8))
        return batching(found, None, scores)["tolerance"]

    assert tolerance(goodness) == pytest.approx(1e-3)  # half +1, half -1: a spread of 1
    assert tolerance(lambda _: 1000.0) == pytest.approx(1e-2)
    assert tolerance(lambda _: 0.0) == pytest.approx(1e-5)


def test_the_damage_is_what_it_says():
    said, other = item("one two  three\nfour five", "ask me"), item("other words here", "ask him")
    made = {name: probe.damaged(said, other) for name, probe in PROBES.items()}
    assert made["truncated"] == item("one two", "ask me")
    assert sorted(made["shuffled"].text.split()) == sorted(said.text.split())
    assert made["shuffled"] == PROBES["shuffled"].damaged(said, other)
    assert made["repeated"].text == f"{said.text}\n{said.text}"
    assert made["emptied"] == item(".", "ask me")
    assert made["other_answer"] == item("other words here", "ask me")
    assert made["other_prompt"] == item(said.text, "ask him")
    assert made["prompt_copied"] == item("ask me", "ask me")
    short = item("one two three", "ask me")
    assert PROBES["truncated"].damaged(short, other) is None
    assert PROBES["other_answer"].damaged(said, item("x", "ask me")) is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "cc", "dd", "\n"]), min_size=4, max_size=12))
def test_half_an_answer_is_a_beginning_of_it(words):
    text = "x y z w " + " ".join(words)
    half = PROBES["truncated"].damaged(item(text), item("")).text
    assert text.startswith(half)
    assert len(half.split()) == len(text.split()) // 2


def test_a_preferred_answer_in_several_pairs_counts_once():
    rows = [pair("p q", f"{GOOD} b c d", f"{BAD} {n}") for n in range(5)]
    figures = sensitivity(*reordered(scored(goodness, rows)))
    assert figures["emptied"]["rows"] == 1
    assert figures["other_answer"] == {
        "says": "replaced by another prompt's preferred answer",
        "left_out": "no answer that it can be done to",
    }


def reordered(given: tuple[Audited, Scores]) -> tuple[Audited, bool, Scores]:
    return given[0], True, given[1]


def test_a_spoilt_answer_that_is_not_read_to_its_end_is_left_out():
    scores = Scores(TextJudge(goodness, limit=9))
    rows = [pair("p q", f"{GOOD} b c d", BAD), pair("r s", f"{GOOD} b", BAD)]
    figures = sensitivity(Audited.of(rows, scores), True, scores)
    assert figures["repeated"]["rows"] == 1  # 2 + 8 words are more than 9


def test_there_are_right_answers_and_nonsense_of_forty_words():
    assert {len(text.split()) for text in NONSENSE} == {40}
    assert len({question for _, question, _ in QUESTIONS}) == len(QUESTIONS) >= 20
    assert len({domain for domain, _, _ in QUESTIONS}) >= 5


def test_short_answers_against_nonsense():
    answers = {answer for _, _, answer in QUESTIONS}
    figures = short_answers(*reordered(scored(lambda i: float(i.text in answers), pairs(4))))
    assert figures["value"] == 1.0 and figures["lost"] == []
    figures = short_answers(*reordered(scored(length, pairs(4))))
    assert figures["value"] == 0.0 and len(figures["lost"]) == len(QUESTIONS)
    assert sum(part["rows"] for part in figures["by_domain"]) == len(QUESTIONS)


def test_questions_that_are_not_read_are_not_asked():
    scores = Scores(TextJudge(goodness, limit=20))
    figures = short_answers(Audited.of(pairs(4), scores), True, scores)
    assert figures == {"left_out": "0 of 24 are within what the model reads"}


def test_truth_and_labels_are_told_apart():
    found, _ = scored(goodness, pairs(40))
    figures = truth_of_pairs(found, "better")
    assert figures["accuracy"]["value"] == figures["labels"]["value"] == 0.75
    # 3 against 0 1 2 3 4: better, better, better, alike, worse
    figures = truth_of_pairs(found, "grade")
    assert (figures["accuracy"]["value"], figures["accuracy"]["rows"]) == (0.75, 32)
    with pytest.raises(AccordError, match="no column 'beter'") as error:
        truth_of_pairs(found, "beter")
    assert "did you mean 'better'" in error.value.fix


@pytest.mark.parametrize("column", ["true", "FALSE", 1, "0.5", False])
def test_truth_is_read_from_tables_too(column):
    found, _ = scored(goodness, [pair("p", GOOD, BAD, extra={"t": column})])
    says = column not in ("FALSE", False)
    assert truth_of_pairs(found, "t")["labels"]["value"] == says


def test_truth_that_is_no_number_is_refused():
    found, _ = scored(goodness, [pair("p", GOOD, BAD, extra={"t": "yes"}, where="f:1")])
    with pytest.raises(AccordError, match="'yes', neither"):
        truth_of_pairs(found, "t")


def test_rated_texts_have_a_truth_of_their_own():
    texts = [
        (TextRow(text=about(n, (BAD, GOOD)[n % 2], 9), extra={"real": n % 2}), float(n % 2))
        for n in range(30)
    ]
    document = audit(TextJudge(goodness), Subject(pairs(10, prompts=False), texts, truth="real"))
    assert document["truth"]["correlation"]["value"] == pytest.approx(1)
    assert "true" in {finding["name"] for finding in document["verdict"]}
    assert document["dependence"]["length"]["given_rating"]["value"] is None
    json.dumps(document)


def test_a_document_is_json_even_of_a_judge_that_says_nothing():
    json.dumps(audit(TextJudge(constant), Subject(pairs(6))), allow_nan=False)
