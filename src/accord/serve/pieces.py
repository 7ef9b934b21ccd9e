"""Drawn tokens to text that may be shown: never half a character, never part of a stop string."""

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from accord.rollout.continuous import Token
from accord.text.tokenizer import Tokenizer

Finish = Literal["stop", "length"]

_REPLACEMENT = "\ufffd"
_CHARACTER = 3  # bytes that an unfinished character may have
_CONTEXT = 8  # tokens that are decoded again with each new one


@dataclass(frozen=True)
class Piece:
    """What a token made showable.

    Args:
        text: Text that follows what was shown before.
        tokens: The tokens that it completes.
        finish: Why nothing follows: `stop` by an end token or a stop string, `length`.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    finish: Finish | None = None


class Decoded:
    """The text of a growing list of tokens, character by whole character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = 0  # characters of the decoded `_ids` that were given

    def add(self, token: int) -> str:
        """The characters that are certain since this token."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        end = len(text)
        while end > self._shown and len(text) - end < _CHARACTER and text[end - 1] == _REPLACEMENT:
            end -= 1
        new = text[self._shown : end]
        self._shown = max(self._shown, end)
        if len(self._ids) >= 4 * _CONTEXT:
            self._forget(len(text) - end)
        return new

    def rest(self) -> str:
        """What was held back for want of a character's end."""
        text = self._tokenizer.decode(self._ids)
        new = text[self._shown :]
        self._shown = len(text)
        return new

    def _forget(self, held: int) -> None:
        """Keep the last tokens only: what stands before them can no longer change."""
        self._ids = self._ids[-_CONTEXT:]
        self._shown = len(self._tokenizer.decode(self._ids)) - held


class Pieces:
    """Tokens of one completion to pieces.

    Args:
        tokenizer: Decodes.
        end_ids: Tokens that end it; they are not shown.
        budget: Tokens after which it ends.
        stop: Strings that end it; they are not shown, nor are tokens that hold part of them.
    """

    def __init__(
        self, tokenizer: Tokenizer, end_ids: AbstractSet[int], budget: int, stop: Sequence[str] = ()
    ) -> None:
        self._decoded = Decoded(tokenizer)
        self._end_ids, self._left, self._stop = end_ids, budget, tuple(stop)
        self._held = ""
        self._tokens: deque[tuple[int, Token]] = deque()  # where the text of each ends
        self._given = 0

    def add(self, token: Token) -> Piece | None:
        """What may be shown since this token; none if that is nothing."""
        self._left -= 1
        if token.id in self._end_ids:
            return self._last(self._decoded.rest(), "stop")
        self._held += self._decoded.add(token.id)
        self._tokens.append((self._given + len(self._held), token))
        if cut := self._cut():
            return cut
        if self._left == 0:
            return self._last(self._decoded.rest(), "length")
        return self._released(len(self._held) - self._doubtful(), None)

    def _last(self, rest: str, finish: Finish) -> Piece | None:
        self._held += rest
        return self._cut() or self._released(len(self._held), finish)

    def _cut(self) -> Piece | None:
        """The last piece, if a stop string stands in what is held."""
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        return self._released(min(found), "stop") if found else None

    def _doubtful(self) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0

    def _released(self, count: int, finish: Finish | None) -> Piece | None:
        text, self._held = self._held[:count], self._held[count:]
        self._given += len(text)
        whole = []
        while self._tokens and self._tokens[0][0] <= self._given:
            whole.append(self._tokens.popleft()[1])
        if not (text or finish):
            # tokens without text of their own wait for those that have some
            self._tokens.extendleft((self._given, token) for token in reversed(whole))
            return None
        return Piece(text, tuple(whole), finish)
