"""Judges whose faults are known, and pairs on which they are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord.data.rows import PairRow
from accord.evaluation.audit.item import Item
from accord.text.messages import Message, Messages

GOOD, BAD = "good", "bad"
THINGS = ("tea", "rain", "bread", "music", "paper", "iron", "sand", "wool", "glass", "corn")


@dataclass
class TextJudge:
    """A function of the item as a judge; a token is a word."""

    score: Callable[[Item], float]
    limit: int = 10_000
    calls: int = 0

    def size(self, item: Item) -> int:
        asked = sum(len(message.content.split()) for message in item.prompt)
        return max(0, min(len(item.text.split()), self.limit - asked))

    def whole(self, item: Item) -> bool:
        return self.size(item) == len(item.text.split())

    def together(self, items: Sequence[Item]) -> list[float]:
        self.calls += len(items)
        return [self.score(item) for item in items]


class PaddedJudge(TextJudge):
    """One whose scores grow with the padding in the batch."""

    def together(self, items: Sequence[Item]) -> list[float]:
        longest = max(self.size(item) for item in items)
        return [self.score(item) + 0.05 * (longest - self.size(item)) for item in items]


def goodness(item: Item) -> float:
    words = item.text.split()
    return float(words.count(GOOD) - words.count(BAD))


def length(item: Item) -> float:
    return float(len(item.text.split()))


def constant(item: Item) -> float:
    return 1.0


def asked(prompt: str) -> Messages:
    return (Message("user", prompt),) if prompt else ()


def pair(prompt: str, chosen: str, rejected: str, **others) -> PairRow:
    role = "assistant" if prompt else "text"
    return PairRow(
        prompt=asked(prompt),
        chosen=(Message(role, chosen),),
        rejected=(Message(role, rejected),),
        **others,
    )


def about(number: int, word: str, words: int) -> str:
    """A sentence of `words` words: the thing asked about, one judging word, and fillers."""
    fillers = [f"w{(number * 7 + at * at) % 50}" for at in range(words - 3)]
    return " ".join([THINGS[number % 10], str(number), word, *fillers])


def pairs(count: int, prompts: bool = True) -> list[PairRow]:
    """Every second pair has the longer answer chosen; goodness is right everywhere."""
    found = []
    for number in range(count):
        more = 8 + number % 5
        lengths = (more + 6, more) if number % 2 else (more, more + 6)
        prompt = f"say about {THINGS[number % 10]} {number}" if prompts else ""
        found.append(
            pair(
                prompt,
                about(number, GOOD, lengths[0]),
                about(number, BAD, lengths[1]),
                source="even" if number % 2 == 0 else "odd",
                language="en",
                extra={"better": number % 4 != 0, "chosen_grade": 3, "rejected_grade": number % 5},
            )
        )
    return found
