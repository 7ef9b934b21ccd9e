"""What a chat format turns a conversation into before it becomes ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from accord.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, or one control token's id.

    Args:
        content: Text, or the id of a control token.
        turn: Index of the assistant message whose response this belongs to; none: given text.
    """

    content: str | int
    turn: int | None = None


def to_ids(pieces: Iterable[Piece], tokenizer: Tokenizer) -> tuple[list[int], list[int | None]]:
    """Ids of the pieces, and the turn each id belongs to.

    Neighbouring texts of one turn are encoded as one string; no token spans two turns, so that
    what stands before a response has the same ids whether or not the response is there.
    """
    ids: list[int] = []
    turns: list[int | None] = []
    for (is_text, turn), group in groupby(pieces, lambda p: (isinstance(p.content, str), p.turn)):
        contents = [p.content for p in group]
        new = tokenizer.encode("".join(map(str, contents))) if is_text else list(map(int, contents))
        ids += new
        turns += [turn] * len(new)
    return ids, turns
