"""A row of one kind where another is wanted: converted where nothing is guessed, else refused."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal

from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow
from accord.errors import AccordError
from accord.text.messages import Message, Messages

Kind = Literal["text", "chat", "prompt", "pair", "label"]

_NAMES: Mapping[type[Row], str] = {
    TextRow: "text",
    ChatRow: "a prompt and a response",
    PairRow: "a chosen and a rejected response",
    LabelRow: "a labelled response",
}

_REMEDIES: Mapping[Kind, str] = {
    "text": "name the column to train on: fields: {text: …}",
    "chat": "give rows with messages, or prompt and completion",
    "prompt": "give rows with a prompt",
    "pair": "give rows with chosen and rejected, or say how pairs are made: pairs: {kind: …}",
    "label": "give rows with a response and its label, or with chosen and rejected",
}

_UNLABELLED = (
    "to learn from every answer whatever its label, name the other columns: "
    "fields: {messages: messages}, or {prompt: prompt, completion: completion}"
)


def as_kind(row: Row, kind: Kind) -> Row:
    """The row as `kind`; place, source, group and extra stay.

    A text is a response without prompt; a pair's chosen side is a response; every row but a text
    has a prompt, and a text is one itself. As `label` a pair stays a pair: a wanted and an unwanted
    response, which its stage takes apart.

    Raises:
        AccordError: The row cannot stand for that kind; says which columns can.
    """
    made = _CONVERSIONS[kind](row)
    if made is None:
        raise AccordError(
            f"The row is {_name(row)}, where {kind} rows are wanted.",
            row.where,
            _UNLABELLED if isinstance(row, LabelRow) and kind == "chat" else _REMEDIES[kind],
        )
    return made


def _text(row: Row) -> Row | None:
    return row if isinstance(row, TextRow) else None


def _chat(row: Row) -> Row | None:
    match row:
        case ChatRow(completion=completion):
            return row if completion else None
        case TextRow(text=text):
            return ChatRow((), _said(text), **_common(row))
        case PairRow(prompt=prompt, chosen=chosen):
            return ChatRow(prompt, chosen, **_common(row))
    return None


def _prompt(row: Row) -> Row | None:
    match row:
        case TextRow(text=text):
            return ChatRow(_said(text), (), **_common(row))
        case ChatRow(prompt=prompt) | PairRow(prompt=prompt) | LabelRow(prompt=prompt):
            return ChatRow(prompt, (), **_common(row)) if prompt else None
    return None


def _pair(row: Row) -> Row | None:
    return row if isinstance(row, PairRow) else None


def _label(row: Row) -> Row | None:
    return row if isinstance(row, LabelRow | PairRow) else None


_CONVERSIONS: Mapping[Kind, Callable[[Row], Row | None]] = {
    "text": _text,
    "chat": _chat,
    "prompt": _prompt,
    "pair": _pair,
    "label": _label,
}


def _name(row: Row) -> str:
    unanswered = isinstance(row, ChatRow) and not row.completion
    return "a prompt without a response" if unanswered else _NAMES[type(row)]


def _said(text: str) -> Messages:
    return (Message("text", text),)


def _common(row: Row) -> dict[str, Any]:
    """What every row carries; the id follows from the content."""
    return {field.name: getattr(row, field.name) for field in fields(Row) if field.init}
