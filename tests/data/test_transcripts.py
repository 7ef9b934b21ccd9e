"""Transcripts of hh-rlhf: turns where speakers change, and quoted marks left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.transcripts import is_transcript, transcript

CASES = [
    ("\n\nHuman: q\n\nAssistant: a", [("u", "q"), ("a", "a")]),
    ("Human: q\n\nAssistant: a", [("u", "q"), ("a", "a")]),
    ("\n\nAssistant: a\n\nHuman: q\n\nAssistant:", [("a", "a"), ("u", "q"), ("a", "")]),
    # blank lines inside a turn are its own
    ("\n\nHuman: q\n\nmore\n\nAssistant: a\n", [("u", "q\n\nmore"), ("a", "a")]),
    # a mark at a single line break, or in the middle of a line, is text
    ("\n\nHuman: q\nAssistant: b\n\nAssistant: a", [("u", "q\nAssistant: b"), ("a", "a")]),
    ("\n\nHuman: say Human: hi\n\nAssistant: a", [("u", "say Human: hi"), ("a", "a")]),
    # the speaker who has the turn quotes a mark
    ("\n\nHuman: see\n\nHuman: x\n\nAssistant: a", [("u", "see\n\nHuman: x"), ("a", "a")]),
    # behind an empty turn it is the turn
    ("\n\nHuman: q\n\nAssistant:\n\nAssistant: a", [("u", "q"), ("a", "a")]),
    ("\n\nHuman:\n\nHuman: q\n\nAssistant: a", [("u", "q"), ("a", "a")]),
]


@pytest.mark.parametrize(("text", "turns"), CASES)
def test_turns_begin_where_the_speaker_changes(text, turns) -> None:
    assert is_transcript(text)
    assert [(m.role[0], m.content) for m in transcript(text)] == turns


@pytest.mark.parametrize(
    "text", ["", "q", "Human: q", "Humans: a\n\nAssistant: b", "a\n\nHuman: q\n\nAssistant: b"]
)
def test_other_texts_are_no_transcripts(text) -> None:
    assert not is_transcript(text)


SAID = st.text("ab .\n", min_size=1).map(str.strip).filter(bool)


@settings(deadline=None, max_examples=60)
@given(st.lists(SAID, min_size=2, max_size=6), st.booleans())
def test_whatever_is_written_in_turns_is_read_back(said, human_first) -> None:
    speakers = ("Human", "Assistant") if human_first else ("Assistant", "Human")
    text = "".join(f"\n\n{speakers[n % 2]}: {content}" for n, content in enumerate(said))
    roles = {"Human": "user", "Assistant": "assistant"}
    wanted = [(roles[speakers[n % 2]], content) for n, content in enumerate(said)]
    assert [(m.role, m.content) for m in transcript(text)] == wanted
