"""One cell of a row: what it has to be, and the fault that says what it is instead."""

import math
from collections.abc import Mapping
from typing import Any

Columns = Mapping[str, Any]

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class RowFault(Exception):
    """A row that cannot be converted: what is wrong, and how to mend it."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


def string(value: Any, column: str) -> str:
    """The value, which has to be text that UTF-8 can hold."""
    if not isinstance(value, str):
        fix = "fill it in, or leave the row out" if value is None else "write it as a string"
        raise RowFault(f"'{column}' is {kind_of(value)}, expected a string", fix)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowFault(
            f"'{column}' holds half of a surrogate pair, which is no text",
            "write the character whole; a text cut between two \\u escapes leaves half of one",
        ) from None
    return value


def filled(row: Columns, column: str, fault: str = "empty") -> str:
    """The text of a column that must not be blank."""
    text = string(row[column], column)
    if not text.strip():
        raise RowFault(f"'{column}' is {fault}", "fill it in, or leave the row out")
    return text


def margin_of(row: Columns) -> float | None:
    """`margin`: how much better the chosen answer is; none where the cell is null or blank."""
    margin = row.get("margin")
    if margin is None or margin == "":
        return None
    try:
        number = math.nan if isinstance(margin, bool) else float(margin)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowFault(
            f"'margin' is {shown(margin)}, expected a finite number",
            "write null where the margin is not known",
        )
    return number


def label_of(row: Columns) -> bool:
    """`label`: true, 1 or "true" for a wanted answer, false, 0 or "false" for an unwanted one."""
    label = row["label"]
    if isinstance(label, bool | int | float) and label in (0, 1):
        return bool(label)
    word = label.strip().lower() if isinstance(label, str) else ""
    if word in _TRUTH:
        return _TRUTH[word]
    raise RowFault(
        f"'label' is {shown(label)}, expected true or false",
        "write true for a wanted answer and false for an unwanted one; where the column means "
        "something else, name the others in fields",
    )


def kind_of(value: Any) -> str:
    """What a value is, in plain words and with its beginning."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | Mapping):
        name = "list" if isinstance(value, list) else "object"
        article = "an" if name == "object" else "a"
        return f"{article} {name}" if value else f"an empty {name}"
    name = {str: "a string", int: "a number", float: "a number"}.get(type(value))
    return f"{name or type(value).__name__} ({shown(value)})"


def shown(value: Any) -> str:
    """A value's beginning as a message can print it: null for none, escapes for what is no text."""
    if value is None:
        return "null"
    text = ascii(value) if not _printable(value) else repr(value)
    return text if len(text) <= 24 else f"{text[:20]}…"


def _printable(value: Any) -> bool:
    return not isinstance(value, str) or value.isprintable()
