"""Which rows are held out: decided by a hash of content or group alone, never by position."""

import hashlib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from accord.config.data import HeldoutConfig
from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow
from accord.text.messages import Messages

R = TypeVar("R", bound=Row)


def split(rows: Iterable[R], heldout: HeldoutConfig) -> tuple[list[R], list[R]]:
    """Rows to train on and rows held out, each in the order they came.

    A row's side depends on the salt and on its group, or else its normalised content: it stays
    when rows are added, reordered or read as another kind (a text and a chat answered by it).
    Rows that ask one of `heldout.prompts` are held out whatever their group.
    """
    sides: tuple[list[R], list[R]] = ([], [])
    for row in rows:
        sides[is_heldout(row, heldout)].append(row)
    return sides


def is_heldout(row: Row, heldout: HeldoutConfig) -> bool:
    """Whether the row asks a held-out prompt, or its key's salted hash is in the fraction."""
    if asks(row, heldout.prompts):
        return True
    key = content_key(row) if row.group is None else f"group {row.group}"
    number = hashlib.sha256(f"{heldout.salt}\n{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(number[:8]) < heldout.fraction * 2**64


def asks(row: Row, prompts: tuple[str, ...]) -> bool:
    """Whether a row's prompt, or one of the user's turns in it, is one of these, normalised."""
    if not prompts or not isinstance(row, ChatRow | PairRow | LabelRow):
        return False
    turns = (normalised(turn.content) for turn in row.prompt if turn.role == "user")
    return not _normalised(prompts).isdisjoint({prompt_key(row), *turns})


@lru_cache(maxsize=8)
def _normalised(prompts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(normalised, prompts))


def content_key(row: Row) -> str:
    """What a row says, normalised: prompt and answer (the chosen one of a pair), or the text."""
    return normalised(row_text(row))


def prompt_key(row: Row) -> str:
    """What a row asks, normalised; empty where it has no prompt."""
    asks = isinstance(row, ChatRow | PairRow | LabelRow)
    return normalised(_joined(row.prompt)) if asks else ""


def row_text(row: Row) -> str:
    """The words of a row: prompt and answer (the chosen one of a pair), or the text."""
    match row:
        case TextRow():
            return row.text
        case ChatRow() | LabelRow():
            return _joined(row.prompt + row.completion)
        case PairRow():
            return _joined(row.prompt + row.chosen)
    raise TypeError(f"no text is known for {type(row).__name__}")


def normalised(text: str) -> str:
    """Compatibility characters, case and runs of blanks made alike (NFKC, casefold)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _joined(messages: Messages) -> str:
    return "\n".join(message.content for message in messages)
