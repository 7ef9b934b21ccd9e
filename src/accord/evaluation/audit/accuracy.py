"""How often the preferred answer scores higher: everywhere, by part, and beside simpler judges."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from accord.evaluation import baseline
from accord.evaluation.audit.estimates import estimate, share
from accord.evaluation.audit.pairs import Audited
from accord.evaluation.ranking import beside, pair_figures
from accord.evaluation.running import BINS, bucket_of, confidence, length_edges
from accord.objectives.reward import expected_calibration_error

FOLDS = 4
"""Parts that the baseline is cross-fitted over."""
LONGER, SHORTER = "the better answer is the longer", "the better answer is the shorter"
FEWEST_PROMPTS = 40
"""Prompts below which a baseline fitted on them says nothing."""


def accuracy(pairs: Audited) -> dict[str, Any]:
    """Accuracy (a tie is wrong), by length, by which answer is the longer, by source and language.

    Keys: `overall`, `ties`, `by_length`, `by_source`, `by_language` (each part with `name`), and
    `beside`: `longer` ("the longer answer is the better one") and `words` (`cross_fitted`).
    """
    return {
        "overall": share(pairs.right_P, pairs.unit_P).to_json(),
        "ties": share(pairs.margin_P == 0, pairs.unit_P).to_json(),
        "margin": float(pairs.margin_P.mean()),
        "by_length": _by(pairs, _lengths(pairs)),
        "by_longer": _by(pairs, [_which(*both) for both in pairs.size_P2.tolist()]),
        "by_source": _by(pairs, [row.source for row in pairs.rows]),
        "by_language": _by(pairs, [row.language for row in pairs.rows]),
        "beside": {
            "longer": beside(pairs.ranked, pairs.with_scores(pairs.size_P2)),
            "words": cross_fitted(pairs),
        },
    }


def calibration(pairs: Audited) -> dict[str, Any]:
    """How far σ(difference of scores) is from a probability.

    Keys: `ece` (its interval too: of few pairs both lie high), `over_confidence` (mean confidence
    minus share of right picks), `table` (bins of confidence: `confidence`, `accuracy`, `pairs`).
    """
    margin_P = torch.from_numpy(pairs.margin_P)
    sure_P, right_P, bin_P = (part.numpy() for part in confidence(margin_P))
    gap_PB = np.zeros((len(sure_P), BINS))
    gap_PB[np.arange(len(sure_P)), bin_P] = right_P - sure_P
    ece = estimate(gap_PB, pairs.unit_P, lambda mean_BC: np.abs(mean_BC).sum(axis=1)).to_json()
    return {
        "ece": ece | {"value": expected_calibration_error(margin_P, BINS)},
        "over_confidence": share(sure_P - right_P, pairs.unit_P).to_json(),
        "table": pair_figures(pairs.ranked)["calibration"],
    }


def cross_fitted(pairs: Audited) -> dict[str, Any]:
    """The TF-IDF ridge on the same pairs, fitted on the other prompts' pairs.

    Keys: `name` and those of `ranking.beside`, or `left_out` with the reason. It has learnt from
    these data and the model has not, so that a model which is not ahead has little to offer here.
    """
    unit_P = pairs.unit_P
    units = list(dict.fromkeys(unit_P))
    if find_spec("sklearn") is None:
        return {"name": baseline.NAME, "left_out": "scikit-learn is not installed"}
    if len(units) < FEWEST_PROMPTS:
        return {"name": baseline.NAME, "left_out": f"fewer than {FEWEST_PROMPTS} prompts"}
    fold_of = {unit: place % FOLDS for place, unit in enumerate(units)}
    fold_P = np.array([fold_of[unit] for unit in unit_P])
    text_P2 = [[item.text for item in both] for both in pairs.sides]
    score_P2 = np.zeros((len(fold_P), 2))
    for fold in range(FOLDS):
        fitted = [both for both, at in zip(text_P2, fold_P, strict=True) if at != fold]
        held = np.flatnonzero(fold_P == fold)
        score = baseline.fit_pairs([both[0] for both in fitted], [both[1] for both in fitted])
        for side in (0, 1):
            score_P2[held, side] = score([text_P2[i][side] for i in held])
    return {"name": baseline.NAME, **beside(pairs.ranked, pairs.with_scores(score_P2))}


def _which(chosen: float, rejected: float) -> str:
    if chosen == rejected:
        return "both are equally long"
    return LONGER if chosen > rejected else SHORTER


def _lengths(pairs: Audited) -> list[str]:
    """The third that each pair is in by its longer answer, named with its tokens."""
    longer_P = pairs.size_P2.max(axis=1).astype(np.int64)
    bucket_P = bucket_of(torch.from_numpy(longer_P), length_edges(longer_P.tolist())).numpy()
    inside = {number: longer_P[bucket_P == number] for number in set(bucket_P.tolist())}
    # padded, so that the order of names is that of lengths
    names = {
        number: f"{tokens_P.min():>4} to {tokens_P.max():>4} tokens"
        for number, tokens_P in inside.items()
    }
    return [names[number] for number in bucket_P.tolist()]


def _by(pairs: Audited, names: Sequence[str | None]) -> list[dict[str, Any]]:
    """Accuracy of each part, in the order of their names; rows without a name are in none."""
    found, unit_P = [], pairs.unit_P
    for name in sorted({name for name in names if name}):
        inside = [at for at, own in enumerate(names) if own == name]
        part = share(pairs.right_P[inside], [unit_P[at] for at in inside])
        found.append({"name": name, **part.to_json()})
    return found
