"""Whether scores go with length or repetition rather than with quality.

Raw, a correlation may be deserved: better answers may be longer. Within pairs the preference is the
quality that is known, so that the difference of scores is regressed on the difference of lengths
*with an intercept*: the intercept is what being preferred is worth at equal length, and the
slope what length is worth at equal preference. It is given without unit as the partial correlation
of the two differences (about their means), and as the part correlation, which is small where
length moves scores little beside the preference: the verdict goes by that one. Of rated texts the
partial correlation given the rating says the same.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from accord.evaluation.audit.estimates import correlation, part_correlation, partial_correlation
from accord.evaluation.audit.item import Floats, Item, Scores
from accord.evaluation.audit.pairs import Audited

NGRAM = 3
"""Words of a piece that may be repeated."""

Rated = Sequence[tuple[Item, float]]
"""Texts and what people gave them."""


def repetition(text: str) -> float:
    """Share of a text's word triples that stood in it before, from 0 to 1; 0 of short texts."""
    words = text.split()
    pieces = [tuple(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)]
    return 1 - len(set(pieces)) / len(pieces) if pieces else 0.0


def dependence(pairs: Audited, rated: Rated, scores: Scores) -> dict[str, Any]:
    """`length` and `repetition`: `raw`, `within_pairs`, `part` and, of rated texts, `given_rating`.

    `length` also has `per_100_tokens`: the regression's slope, in spreads of the score.
    """
    size = {item: float(scores.judge.size(item)) for item, _ in pairs.once()}
    size |= {item: float(scores.judge.size(item)) for item, _ in rated}
    found = _goes_with(lambda item: size[item], pairs, rated, scores)
    found["per_100_tokens"] = _slope(pairs)
    return {
        "length": found,
        "repetition": _goes_with(lambda item: repetition(item.text), pairs, rated, scores),
    }


def _goes_with(
    feature: Callable[[Item], float], pairs: Audited, rated: Rated, scores: Scores
) -> dict[str, Any]:
    items, units = zip(*pairs.once(), strict=True)
    ahead_P = np.array([feature(chosen) - feature(rejected) for chosen, rejected in pairs.sides])
    raw = correlation(scores(items), np.array([feature(item) for item in items]), units)
    found: dict[str, Any] = {
        "raw": raw.to_json(),
        "within_pairs": correlation(pairs.margin_P, ahead_P, pairs.unit_P).to_json(),
        "part": part_correlation(pairs.margin_P, ahead_P, pairs.unit_P).to_json(),
    }
    if rated:
        texts: list[Hashable] = [item for item, _ in rated]
        rating_T = np.array([rating for _, rating in rated])
        feature_T = np.array([feature(item) for item, _ in rated])
        score_T = scores([item for item, _ in rated])
        found["given_rating"] = partial_correlation(score_T, feature_T, rating_T, texts).to_json()
    return found


def _slope(pairs: Audited) -> float | None:
    """Spreads of the score that 100 tokens more than the other answer's are worth."""
    longer_P: Floats = pairs.size_P2[:, 0] - pairs.size_P2[:, 1]
    centred_P = longer_P - longer_P.mean()
    variance = float(centred_P @ centred_P)
    if not variance or not pairs.spread:
        return None
    return float(centred_P @ pairs.margin_P) / variance * 100 / pairs.spread
