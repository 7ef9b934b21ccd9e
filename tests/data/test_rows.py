"""Rows: an id that says the content and nothing else."""

import pickle
from dataclasses import replace

import pytest

from accord.data.rows import ChatRow, LabelRow, PairRow, TextRow, digest
from accord.text.messages import Message

HELLO, BYE = (Message("text", "hello"),), (Message("text", "bye"),)


def test_digest_is_the_sha256_of_canonical_json() -> None:
    # printf '{"text":"hello"}' | sha256sum
    assert TextRow("hello").id == digest({"text": "hello"}) == "cbbbdcd27692344d"


def test_the_id_follows_content_alone() -> None:
    row = TextRow("hello", where="f:1", source="s", group="g", extra={"k": 1})
    assert row.id == TextRow("hello").id
    assert replace(row, where="f:2", extra={}).id == row.id
    assert replace(row, text="bye").id == TextRow("bye").id != row.id
    assert pickle.loads(pickle.dumps(row)) == row


def test_kinds_and_sides_are_told_apart() -> None:
    rows = [
        TextRow("hello"),
        ChatRow((), HELLO),
        ChatRow(HELLO, ()),
        ChatRow((), (Message("assistant", "hello"),)),
        PairRow((), HELLO, BYE),
        PairRow((), BYE, HELLO),
        PairRow((), HELLO, BYE, 1.0),
        LabelRow((), HELLO, True),
        LabelRow((), HELLO, False),
    ]
    assert len({row.id for row in rows}) == len(rows)


def test_half_a_surrogate_still_has_an_id() -> None:
    assert len(TextRow("\ud800").id) == 16


def test_rows_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TextRow("a").text = "b"  # type: ignore[misc]
