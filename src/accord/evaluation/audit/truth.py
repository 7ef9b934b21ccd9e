"""Agreement with what is known to be true, where somebody knows it.

A pair's column says which answer is truly better: true or a positive number is the chosen one,
false or a negative number the rejected one, 0 neither. Where each side has a number of its own they
stand in `chosen_NAME` and `rejected_NAME`. A rated text's column is a number, or true or false.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from accord.data.rows import Row
from accord.errors import AccordError, did_you_mean
from accord.evaluation.audit.estimates import correlation, share
from accord.evaluation.audit.item import Item, Scores
from accord.evaluation.audit.pairs import Audited

WORDS: Mapping[str, float] = {"true": 1.0, "false": -1.0}


def truth_of_pairs(pairs: Audited, column: str) -> dict[str, Any]:
    """How often the truly better answer scores higher, and how often the data prefer it.

    Keys: `accuracy` (a tie is wrong) and `labels` as estimates; pairs of which neither answer is
    better are left out.

    Raises:
        AccordError: A row without the column, or no truth in any.
    """
    truth_P = np.array([_ahead(row, column) for row in pairs.rows])
    known = np.flatnonzero(truth_P)
    if not len(known):
        raise AccordError(f"No pair's '{column}' says which answer is better.", "--truth")
    unit_P = pairs.unit_P
    units = [unit_P[at] for at in known]
    sign_P = np.sign(truth_P[known])
    return {
        "column": column,
        "accuracy": share(pairs.margin_P[known] * sign_P > 0, units).to_json(),
        "labels": share(sign_P > 0, units).to_json(),
    }


def truth_of_texts(
    texts: Sequence[tuple[Item, Row]], column: str, scores: Scores
) -> dict[str, Any]:
    """Correlation of the scores with the truth, `correlation`, each text once.

    Raises:
        AccordError: A row without the column.
    """
    truth_T = np.array([_value(row, column) for _, row in texts])
    units: list[Hashable] = [item for item, _ in texts]
    found = correlation(scores([item for item, _ in texts]), truth_T, units)
    return {"column": column, "correlation": found.to_json()}


def _ahead(row: Row, column: str) -> float:
    both = (f"chosen_{column}", f"rejected_{column}")
    if column not in row.extra and all(name in row.extra for name in both):
        return _value(row, both[0]) - _value(row, both[1])
    return _value(row, column)


def _value(row: Row, column: str) -> float:
    """The column as a number; true is 1, false is -1."""
    if column not in row.extra:
        hint = did_you_mean(column, [str(key) for key in row.extra])
        raise AccordError(f"The row has no column '{column}'.", row.where, hint)
    value = row.extra[column]
    if isinstance(value, bool):
        return 1.0 if value else -1.0
    try:
        number = WORDS.get(str(value).strip().casefold())
        number = float(value) if number is None else number
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        what = f"The column '{column}' is {value!r}, neither a number nor true or false."
        raise AccordError(what, row.where)
    return number
