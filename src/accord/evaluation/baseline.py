"""What counted words tell: a ridge regression on TF-IDF features, beside which a reward model has
to stand.

Words and word pairs, and pieces of words of three to five characters. scikit-learn is loaded only
when a baseline is fitted.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from accord.errors import AccordError

NAME = "TF-IDF ridge"
PENALTY = 1.0
"""The ridge's alpha, scikit-learn's own default; not tuned on anything that is held out."""

Score = Callable[[Sequence[str]], list[float]]
"""Texts to one number each, the higher the better."""


def check_installed(where: str) -> None:
    """Refuse a baseline before anything is trained, where its library is missing."""
    if find_spec("sklearn") is None:
        raise AccordError(
            "The baseline needs scikit-learn, which is not installed.",
            where,
            "pip install 'accord[rewards]', or set baseline=false",
        )


def fit_ratings(texts: Sequence[str], ratings: Sequence[float]) -> Score:
    """A ridge from a text's features to its rating."""
    features = _features().fit(texts)
    ridge = _ridge(True).fit(features.transform(texts), np.asarray(ratings))
    return lambda wanted: ridge.predict(features.transform(wanted)).tolist()


def fit_pairs(chosen: Sequence[str], rejected: Sequence[str]) -> Score:
    """A ridge from the difference of two texts' features to 1, chosen before rejected.

    Its weights score a text alone; a constant would cancel in every pair, so there is none.
    """
    features = _features().fit([*chosen, *rejected])
    difference = features.transform(chosen) - features.transform(rejected)
    ridge = _ridge(False).fit(difference, np.ones(len(chosen)))
    return lambda wanted: ridge.predict(features.transform(wanted)).tolist()


def _features() -> Any:
    vectorizer = import_module("sklearn.feature_extraction.text").TfidfVectorizer
    return import_module("sklearn.pipeline").make_union(
        vectorizer(ngram_range=(1, 2), sublinear_tf=True),
        vectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    )


def _ridge(intercept: bool) -> Any:
    # conjugate gradients: the only solver here that is fast on sparse rows and draws no number
    return import_module("sklearn.linear_model").Ridge(
        alpha=PENALTY, fit_intercept=intercept, solver="sparse_cg"
    )
