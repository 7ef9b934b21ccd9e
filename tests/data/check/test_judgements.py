"""Labels and margins."""

import pytest

from accord.data.check.judgements import findings, judgements_of
from accord.data.rows import LabelRow, PairRow, Row
from accord.text.messages import Message

Q, A, B = ((Message("text", text),) for text in "qab")


@pytest.mark.parametrize(
    ("wanted", "unwanted", "names"),
    [(5, 5, []), (8, 2, []), (9, 1, ["label_balance"]), (0, 9, ["one_label"]), (0, 0, [])],
)
def test_labels_out_of_balance(wanted: int, unwanted: int, names: list[str]) -> None:
    rows: list[Row] = [LabelRow(Q, A, i < wanted) for i in range(wanted + unwanted)]
    found = judgements_of(rows)
    assert (found.wanted, found.unwanted) == (wanted, unwanted)
    assert [finding.name for finding in findings(found)] == names


def test_one_label_alone_cannot_be_trained_on() -> None:
    (finding,) = findings(judgements_of([LabelRow(Q, A, True)]))
    assert finding.severity == "error" and "Every answer (1) is wanted" in finding.says


def test_margins_that_are_missing_or_the_wrong_way_round() -> None:
    rows: list[Row] = [
        PairRow(Q, A, B, margin, where=f"a:{i}") for i, margin in enumerate([1.0, 2.5, -1.0, 0.0])
    ]
    found = judgements_of(rows)
    assert found.percentiles["p50"] == 0.0 and found.percentiles["max"] == 2.5
    assert found.not_positive.places == ["a:2", "a:3"]
    assert [finding.name for finding in findings(found)] == ["margins_not_positive"]
    more = findings(judgements_of([*rows, PairRow(Q, A, B)]))
    assert "1 pair of 5 " in more[0].says
