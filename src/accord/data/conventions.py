"""The table of formats: which columns each needs, the row they make, the function that makes it.

A new format is one function in `adapters` or `preferences` and one row in `FORMATS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accord.data import adapters, preferences
from accord.data.adapters import Parts
from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow


@dataclass(frozen=True)
class Format:
    """A set of columns, the row they make, and the function that makes it."""

    name: str
    needs: tuple[str, ...]
    row: type[Row]
    convert: Callable[[Mapping[str, Any]], Parts]
    may: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the format reads; the others go to `extra`."""
        return self.needs + self.may


_PAIR = ("system", "margin")
_ALPACA = ("input", "system", "history")

# the more columns a format needs the earlier it stands: the first that fits is taken
FORMATS: tuple[Format, ...] = (
    Format(
        "question-pair",
        ("question", "chosen", "rejected"),
        PairRow,
        preferences.question_pair_row,
        _PAIR,
    ),
    Format(
        "sharegpt-pair",
        ("conversations", "chosen", "rejected"),
        PairRow,
        preferences.sharegpt_pair,
        _PAIR,
    ),
    Format("preference", ("prompt", "chosen", "rejected"), PairRow, preferences.pair_row, _PAIR),
    Format(
        "instruction-pair",
        ("instruction", "chosen", "rejected"),
        PairRow,
        preferences.instruction_pair_row,
        ("input", *_PAIR),
    ),
    Format(
        "input-pair", ("input", "chosen", "rejected"), PairRow, preferences.input_pair_row, _PAIR
    ),
    Format(
        "labelled", ("prompt", "completion", "label"), LabelRow, preferences.label_row, ("system",)
    ),
    Format(
        "labelled alpaca",
        ("instruction", "output", "label"),
        LabelRow,
        preferences.labelled_alpaca,
        _ALPACA,
    ),
    Format(
        "labelled messages",
        ("messages", "label"),
        LabelRow,
        preferences.labelled_messages,
        ("system",),
    ),
    Format(
        "labelled sharegpt",
        ("conversations", "label"),
        LabelRow,
        preferences.labelled_sharegpt,
        ("system",),
    ),
    Format(
        "implicit-prompt preference",
        ("chosen", "rejected"),
        PairRow,
        preferences.implicit_pair_row,
        _PAIR,
    ),
    Format(
        "prompt-completion",
        ("prompt", "completion"),
        ChatRow,
        adapters.prompt_completion_row,
        ("system",),
    ),
    Format("alpaca", ("instruction", "output"), ChatRow, adapters.alpaca_row, _ALPACA),
    Format("messages", ("messages",), ChatRow, adapters.messages_row, ("system",)),
    Format("sharegpt", ("conversations",), ChatRow, adapters.sharegpt_row, ("system",)),
    Format("completion", ("completion",), ChatRow, adapters.completion_row),
    Format("prompt", ("prompt",), ChatRow, adapters.prompt_row, ("system",)),
    Format("text", ("text",), TextRow, adapters.text_row),
)

COLUMNS = tuple(sorted({column for form in FORMATS for column in form.columns}))

SYNONYMS: Mapping[str, str] = {
    "kto_tag": "label",
    "chosen_response": "chosen",
    "rejected_response": "rejected",
    "chosen_messages": "chosen",
    "rejected_messages": "rejected",
}
"""Columns known by a second name, read as the first where that one is not there."""


def standard(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with second names replaced."""
    return {
        SYNONYMS[name] if name in SYNONYMS and SYNONYMS[name] not in row else name: value
        for name, value in row.items()
    }


def as_written(text: str, row: Mapping[str, Any]) -> str:
    """A message about standard columns, in the names of the row."""
    for name, meant in SYNONYMS.items():
        if name in row and meant not in row:
            text = text.replace(f"'{meant}'", f"'{name}'")
    return text
