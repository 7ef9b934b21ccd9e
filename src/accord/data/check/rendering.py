"""Rows as training sees them: which text carries loss, where control tokens stand, what is cut."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from accord.data.account import Account
from accord.data.check.parts import answers_of, prompt_of
from accord.data.check.tokens import example_of
from accord.data.examples import fitted, no_room
from accord.data.packing import Response
from accord.data.rows import Row
from accord.text.chat import TrainOn
from accord.text.messages import Messages
from accord.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Segment:
    """A stretch of a rendered row.

    Args:
        text: What it says.
        trained: Whether it carries loss.
        control: Whether it is a control token.
        cut: Whether the length limit takes it away.
    """

    text: str
    trained: bool = False
    control: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Shown:
    """A row to be looked at: where it stands, what becomes of it, its segments by part."""

    where: str
    fate: str
    parts: Mapping[str, Sequence[Segment]]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        parts = {name: [asdict(s) for s in segments] for name, segments in self.parts.items()}
        return {"where": self.where, "fate": self.fate, "parts": parts}


def rendered(row: Row, tokenizer: Tokenizer, train_on: TrainOn, max_length: int | None) -> Shown:
    """A row through the tokenizer's template.

    Raises:
        AccordError: It cannot be rendered.
    """
    example = example_of(row, tokenizer, train_on)
    limit = example.length if max_length is None and example.responses else max_length
    room = max(0, (limit or len(example.prompt)) - len(example.prompt))
    fate = ""
    if max_length is not None and example.responses:
        kept = fitted([row], [example], max_length, Account())
        if not kept:
            fate = f"dropped: {no_room(max_length)}"
        elif kept[0] != example:
            fate = f"cut to {max_length} tokens"
    elif max_length is not None and not room:
        fate = f"dropped: {no_room(max_length)}"
    opening = Response(example.prompt, (False,) * len(example.prompt))
    parts = {"prompt": _segments(opening, len(example.prompt), tokenizer)}
    for name, response in zip(answers_of(row), example.responses, strict=True):
        parts[name] = _segments(response, room, tokenizer)
    return Shown(row.where, fate, parts)


def _segments(response: Response, room: int, tokenizer: Tokenizer) -> list[Segment]:
    """Neighbouring tokens of one kind as one segment; each control token is its own."""

    def kind(place: int) -> tuple[bool, int, bool]:
        token, cut = response.ids[place], place >= room
        control = place + 1 if token in tokenizer.control_ids else 0
        return (response.mask[place] and not cut, control, cut)

    return [
        Segment(tokenizer.decode(response.ids[i] for i in places), trained, bool(control), cut)
        for (trained, control, cut), places in groupby(range(len(response.ids)), kind)
    ]


def unrendered(row: Row, train_on: TrainOn) -> Shown:
    """A row without a tokenizer: turns with their roles, and those that would carry loss."""
    parts = {"prompt": _turns(prompt_of(row), frozenset())} if prompt_of(row) else {}
    for name, answer in answers_of(row).items():
        turns = [i for i, message in enumerate(answer) if message.role in ("assistant", "text")]
        parts[name] = _turns(answer, frozenset(turns if train_on == "all" else turns[-1:]))
    return Shown(row.where, "", parts)


def _turns(messages: Messages, trained: frozenset[int]) -> list[Segment]:
    found: list[Segment] = []
    for number, message in enumerate(messages):
        if message.role != "text":
            found.append(Segment(f"{message.role}: "))
        found.append(Segment(message.content, number in trained))
        if number + 1 < len(messages):
            found.append(Segment("\n"))
    return found
