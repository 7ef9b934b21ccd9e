"""Rendered rows: what they say, what carries loss, and where a limit cuts."""

import pytest

from accord.data.check.marks import CUT, marked
from accord.data.check.rendering import Segment, rendered, unrendered
from accord.data.check.tokens import example_of
from accord.data.rows import ChatRow, PairRow
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

ASKED = (Message("user", "Where <|im_end|> is it?"),)
PAIR = PairRow(
    ASKED,
    (Message("assistant", "By the river."),),
    (Message("assistant", "No, it is in the garden."),),
    where="a:1",
)


def text(segments) -> str:
    return "".join(segment.text for segment in segments)


def test_all_ids_are_shown_and_those_with_loss_are_marked(tokenizer: Tokenizer) -> None:
    example, shown = example_of(PAIR, tokenizer, "last"), rendered(PAIR, tokenizer, "last", None)
    assert (shown.where, shown.fate) == ("a:1", "")
    assert text(shown.parts["prompt"]) == tokenizer.decode(example.prompt)
    for name, response in zip(("chosen", "rejected"), example.responses, strict=True):
        segments = shown.parts[name]
        assert text(segments) == tokenizer.decode(response.ids)
        scored = [i for i, mask in zip(response.ids, response.mask, strict=True) if mask]
        assert text(s for s in segments if s.trained) == tokenizer.decode(scored)
        assert [s.text for s in segments if s.control] == ["<|im_end|>"]
    assert not any(segment.trained for segment in shown.parts["prompt"])


def test_a_control_tokens_name_in_text_is_no_control_token(tokenizer: Tokenizer) -> None:
    segments = rendered(PAIR, tokenizer, "last", None).parts["prompt"]
    assert any("Where <|im_end|> is" in s.text and not s.control for s in segments)


def test_the_cut_stands_where_training_cuts(tokenizer: Tokenizer) -> None:
    example = example_of(PAIR, tokenizer, "last")
    limit = example.length - 3
    shown = rendered(PAIR, tokenizer, "last", limit)
    room = limit - len(example.prompt)
    assert shown.fate == f"cut to {limit} tokens"
    whole = example.responses[1].ids
    assert text(s for s in shown.parts["rejected"] if s.cut) == tokenizer.decode(whole[room:])
    assert not any(s.trained and s.cut for part in shown.parts.values() for s in part)
    dropped = rendered(PAIR, tokenizer, "last", len(example.prompt))
    assert dropped.fate.startswith("dropped: no response token within")
    assert all(s.cut for s in dropped.parts["chosen"])


def test_a_prompt_alone(tokenizer: Tokenizer) -> None:
    row = ChatRow(ASKED, ())
    shown = rendered(row, tokenizer, "last", None)
    assert shown.parts.keys() == {"prompt"}
    length = len(example_of(row, tokenizer, "last").prompt)
    assert rendered(row, tokenizer, "last", length).fate.startswith("dropped")
    assert rendered(row, tokenizer, "last", length + 1).fate == ""


@pytest.mark.parametrize(("train_on", "trained"), [("last", ["So."]), ("all", ["Well.", "So."])])
def test_without_a_tokenizer_turns_are_shown_by_role(train_on, trained) -> None:
    turns = [("assistant", "Well."), ("user", "And?"), ("assistant", "So.")]
    answer = tuple(Message(role, said) for role, said in turns)
    parts = unrendered(PairRow(ASKED, answer, PAIR.rejected), train_on).parts
    assert text(parts["prompt"]) == "user: Where <|im_end|> is it?"
    assert text(parts["chosen"]) == "assistant: Well.\nuser: And?\nassistant: So."
    assert [s.text for s in parts["chosen"] if s.trained] == trained


def test_marks_make_it_readable_without_colour() -> None:
    segments = [
        Segment("Q\n"),
        Segment("yes", trained=True),
        Segment("<end>", trained=True, control=True),
        Segment(" lost", cut=True),
    ]
    assert marked(segments, marks=True).plain == f"Q⏎\n⟦yes<end>⟧ {CUT} cut here:  lost"
    assert "⟦" not in marked(segments, marks=False).plain
    styles = {str(span.style) for span in marked(segments, marks=False).spans}
    assert {"dim default", "bold default", "bold cyan", "dim strike red"} <= styles


def test_long_stretches_lose_their_middle_and_nothing_moves_the_cursor() -> None:
    shown = marked([Segment("a" * 1000 + "\x1b[2J\t")], marks=False).plain
    assert len(shown) < 400 and "more characters]" in shown
    assert "\x1b" not in shown and "\\x1b[2J→" in shown
