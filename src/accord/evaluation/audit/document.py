"""All measures of an audit as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from accord.data.rows import PairRow, TextRow
from accord.errors import AccordError
from accord.evaluation.audit.accuracy import accuracy, calibration
from accord.evaluation.audit.invariance import batching, white_space
from accord.evaluation.audit.item import Item, Judge, Scores
from accord.evaluation.audit.lengths import dependence
from accord.evaluation.audit.pairs import Audited
from accord.evaluation.audit.probes import sensitivity
from accord.evaluation.audit.shorts import short_answers
from accord.evaluation.audit.truth import truth_of_pairs, truth_of_texts
from accord.evaluation.audit.verdict import verdict
from accord.text.messages import Message


@dataclass(frozen=True)
class Subject:
    """What is audited, and on what.

    Args:
        pairs: Held-out pairs.
        texts: Rated texts that the pairs were made of, each with its rating; or none.
        without_prompts: Whether the model was trained on texts alone; none: unknown, so that the
            pairs say it.
        truth: Column that says what is truly better; or none.
        pad_is_end: Whether the model's pad and end token are one; none: unknown.
    """

    pairs: Sequence[PairRow]
    texts: Sequence[tuple[TextRow, float]] = ()
    without_prompts: bool | None = None
    truth: str | None = None
    pad_is_end: bool | None = None


def audit(judge: Judge, subject: Subject) -> dict[str, Any]:
    """Measure a judge; the same pairs, in the same order, give the same document.

    Keys: `pairs` (counts), `accuracy`, `calibration`, `dependence`, `batching`, `white_space`,
    `sensitivity`, `short_answers`, `truth` (or null) and `verdict`. Every measure holds an
    estimate (`value`, `ci95` by resampling prompts, `rows`, `prompts`) or `left_out`, why not.

    Raises:
        AccordError: No pair can be read, a score is no finite number, or the truth's column is
            missing.
    """
    scores = Scores(judge)
    pairs = Audited.of(subject.pairs, scores)
    if not pairs.rows:
        raise AccordError(
            f"None of the {len(subject.pairs)} pairs leaves the model an answer to read.",
            fix="raise --max-length, or give shorter prompts",
        )
    texts = [(item, row, rating) for row, rating in subject.texts if (item := _item(row, judge))]
    asked = sum(bool(row.prompt) for row in pairs.rows)
    with_prompts = asked > 0 and not subject.without_prompts
    found: dict[str, Any] = {
        "pairs": {
            "read": len(subject.pairs),
            "scored": len(pairs.rows),
            "prompts": len(set(pairs.unit_P)),
            "with_prompt": asked,
            "reads_prompts": with_prompts,
            "cut": sum(not all(map(judge.whole, both)) for both in pairs.sides),
        },
        "scores": {"spread": pairs.spread, "mean": float(pairs.score_P2.mean())},
        "accuracy": accuracy(pairs),
        "calibration": calibration(pairs),
        "dependence": dependence(pairs, [(item, rating) for item, _, rating in texts], scores),
        "batching": batching(pairs, subject.pad_is_end, scores),
        "white_space": white_space(pairs, scores),
        "sensitivity": sensitivity(pairs, with_prompts, scores),
        "short_answers": short_answers(pairs, with_prompts, scores),
        "truth": None,
    }
    if subject.truth and texts:
        found["truth"] = truth_of_texts(
            [(item, row) for item, row, _ in texts], subject.truth, scores
        )
    elif subject.truth:
        found["truth"] = truth_of_pairs(pairs, subject.truth)
    return found | {"verdict": [asdict(finding) for finding in verdict(found)]}


def _item(row: TextRow, judge: Judge) -> Item | None:
    item = Item((), (Message("text", row.text),))
    return item if judge.size(item) else None
