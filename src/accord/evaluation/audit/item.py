"""What a judge scores, and each of it scored once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from accord.data.rows import PairRow
from accord.errors import AccordError
from accord.text.messages import Messages

Floats = NDArray[np.float64]
ITEMS_AT_ONCE = 64
EXCERPT = 60
"""Characters of an answer that a message shows."""


@dataclass(frozen=True)
class Item:
    """A prompt and one answer to it.

    Args:
        prompt: The turns before the answer; empty where the model reads texts alone.
        answer: What is scored.
        cut_off: Whether it was cut off at a limit, so that no end token follows.
    """

    prompt: Messages
    answer: Messages
    cut_off: bool = False

    @property
    def text(self) -> str:
        """The answer as a reader sees it."""
        return "\n".join(message.content for message in self.answer)

    def saying(self, content: str) -> "Item":
        """The same with its last turn's words replaced."""
        said = replace(self.answer[-1], content=content)
        return replace(self, answer=(*self.answer[:-1], said))


def sides(row: PairRow) -> tuple[Item, Item]:
    """The chosen and the rejected answer of a pair."""
    return (
        Item(row.prompt, row.chosen, row.cut_off[0]),
        Item(row.prompt, row.rejected, row.cut_off[1]),
    )


class Judge(Protocol):
    """What gives answers a number."""

    def size(self, item: Item) -> int:
        """Tokens of the answer that are read; 0 where the prompt leaves no room for any."""
        ...

    def whole(self, item: Item) -> bool:
        """Whether all of the answer is read, rather than a beginning of it."""
        ...

    def together(self, items: Sequence[Item]) -> list[float]:
        """The scores of these, in one batch of just these in this order."""
        ...


@dataclass
class Scores:
    """Scores of a judge, each distinct item once, like lengths together."""

    judge: Judge
    known: dict[Item, float] = field(default_factory=dict)

    def __call__(self, items: Sequence[Item]) -> Floats:
        """The score of each item.

        Raises:
            AccordError: A score is no finite number.
        """
        wanted = [item for item in dict.fromkeys(items) if item not in self.known]
        wanted.sort(key=self.judge.size)
        for at in range(0, len(wanted), ITEMS_AT_ONCE):
            batch = wanted[at : at + ITEMS_AT_ONCE]
            found = self.judge.together(batch)
            for item, score in zip(batch, found, strict=True):
                if not math.isfinite(score):
                    raise AccordError(
                        "The model's score is no finite number.",
                        f"answer {item.text[:EXCERPT]!r}",
                        "train the model anew; nothing can be concluded from this one",
                    )
                self.known[item] = score
        return np.array([self.known[item] for item in items], dtype=np.float64)

    def readable(self, items: Iterable[Item]) -> list[bool]:
        """Which of them are read to their end."""
        return [self.judge.size(item) > 0 and self.judge.whole(item) for item in items]
