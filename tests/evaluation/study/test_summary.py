"""What comes of all comparisons, and where intervals and verdicts part."""

import pytest

from accord.evaluation.statistics import Interval
from accord.evaluation.study.claims import Claim
from accord.evaluation.study.crossed import Crossed
from accord.evaluation.study.factors import Contrast
from accord.evaluation.study.summary import headline, summary

ONE_KEY = Contrast("a", "b", {"stages.dpo.beta": (1, 2)}, {})


def claim(family, p_holm, low=0.1, contrast=None):
    result = Crossed(Interval(0.5, low, 0.9, 40), 0.01, 3)
    return Claim(family, "b", "a", "dpo", "length", result, p_holm, 4, contrast)


def test_counts_by_hand():
    found = [
        claim("variants", 0.01, contrast=ONE_KEY),
        claim("variants", 0.2, contrast=ONE_KEY),
        claim("variants", 0.9, low=-0.1, contrast=ONE_KEY),
        claim("policies", 0.03),
    ]
    assert summary(found) == {
        "policies": {"comparisons": 1, "distinguishable": 1, "unadjusted": 0, "causal": 0},
        "variants": {"comparisons": 3, "distinguishable": 1, "unadjusted": 1, "causal": 1},
    }


def test_an_interval_that_excludes_zero_alone_is_no_claim_and_the_sentence_says_so():
    told, alone, neither = (claim("policies", p, low) for p, low in
                            ((0.01, 0.1), (0.2, 0.1), (0.2, -0.1)))  # fmt: skip
    assert [c.unadjusted for c in (told, alone, neither)] == [False, True, False]
    words = "; the interval, which is for this comparison alone, does exclude 0)"
    assert alone.sentence.endswith(words) and "not distinguishable" in alone.sentence
    assert words not in told.sentence and words not in neither.sentence
    assert alone.to_json()["unadjusted"] is True


@pytest.mark.parametrize(
    ("families", "said"),
    [
        ({"variants": (3, 1)}, "1 of 3 comparisons between variants told apart from chance."),
        (
            {"variants": (1, 0), "confounded": (2, 2)},
            "0 of 1 comparison between variants told apart from chance; 2 further ones changed "
            "training and evaluation at once, none evidence of an effect of training.",
        ),
        ({"policies": (4, 2), "methods": (3, 3)},
         "2 of 4 comparisons with the reference told apart from chance."),
        ({}, "Nothing was compared."),
    ],
)  # fmt: skip
def test_headlines(families, said):
    counts = {f: {"comparisons": n, "distinguishable": k} for f, (n, k) in families.items()}
    assert headline(counts) == said
