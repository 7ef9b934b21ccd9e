"""Counted words as a scorer."""

import pytest

from accord.errors import AccordError
from accord.evaluation import baseline

GOOD = [
    "a wonderful film",
    "wonderful acting and a warm story",
    "simply wonderful",
    "warm and good",
]
BAD = ["a dreadful film", "dreadful acting and a cold story", "simply dreadful", "cold and bad"]


def test_words_that_go_with_ratings_decide() -> None:
    score = baseline.fit_ratings([*GOOD, *BAD], [3.0] * 4 + [-3.0] * 4)
    good, bad = score(["a wonderful story", "a dreadful story"])
    assert good > 0 > bad
    assert score(["a wonderful story"])[0] == pytest.approx(good)


def test_pairs_decide_alike_and_order_does_not() -> None:
    score = baseline.fit_pairs(GOOD, BAD)
    good, bad = score(["a wonderful story", "a dreadful story"])
    assert good > bad
    turned = baseline.fit_pairs(BAD, GOOD)(["a wonderful story", "a dreadful story"])
    assert turned == pytest.approx([-good, -bad])


def test_a_missing_library_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    baseline.check_installed("stages.reward.baseline")
    monkeypatch.setattr(baseline, "find_spec", lambda name: None)
    with pytest.raises(AccordError, match="scikit-learn") as caught:
        baseline.check_installed("stages.reward.baseline")
    assert caught.value.where == "stages.reward.baseline"
    assert "baseline=false" in caught.value.fix
