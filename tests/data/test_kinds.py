"""Kinds: a row stands for another where nothing is guessed, and keeps all it carries."""

import pytest

from accord.data.kinds import as_kind
from accord.data.rows import ChatRow, LabelRow, PairRow, TextRow
from accord.errors import AccordError
from accord.text.messages import Message

CARRIED = {"where": "a:1", "source": "a", "group": "g", "language": "ko", "extra": {"n": 1}}
Q, A, B = ((Message("text", said),) for said in "qab")
PAIR = PairRow(Q, A, B, 2.0, **CARRIED)
WANTED = LabelRow(Q, A, True, **CARRIED)


def test_as_labels_a_pair_stays_whole_and_so_does_its_margin() -> None:
    assert as_kind(PAIR, "label") is PAIR
    assert as_kind(WANTED, "label") is WANTED


@pytest.mark.parametrize("row", [PAIR, WANTED, TextRow("q", **CARRIED), ChatRow(Q, A, **CARRIED)])
def test_what_a_row_carries_stays_with_it(row) -> None:
    made = as_kind(row, "prompt")
    assert made.content() == ChatRow(Q, ()).content()
    assert {name: getattr(made, name) for name in CARRIED} == CARRIED


def test_a_labelled_answer_is_no_answer_to_learn_from() -> None:
    with pytest.raises(AccordError, match="a labelled response, where chat rows are wanted"):
        as_kind(WANTED, "chat")
    with pytest.raises(AccordError, match="a prompt without a response, where label rows are"):
        as_kind(ChatRow(Q, ()), "label")
