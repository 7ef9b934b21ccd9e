"""Reward functions and judges of the planted runs, named in recipes as `python:`."""

import re

from accord.rewards.answer import Answer
from diagnosis.worlds import BAD, GOOD

FORMS = (
    re.compile(r"A \w+ \w+ with a \w+ \w+ and a \w+ \w+, made by \w+\."),
    re.compile(r"The \w+ left the \w+ by the \w+, \w+ \w+\."),
    re.compile(r"\w+ не знает этого слова\."),
)
"""What a sound text of each world looks like, from its first letter to its last."""


def mood(answer: Answer) -> float:
    """Good words less bad ones, as a share of both: no text is worth more than 1."""
    words = re.findall(r"\w+", answer.text)
    good, bad = (sum(word in side for word in words) for side in (GOOD, BAD))
    return (good - bad) / (good + bad) if good + bad else -1.0


def form(answer: Answer) -> float:
    """1 where the text is a sound sentence of its world, else 0."""
    return float(any(pattern.fullmatch(answer.text.strip()) for pattern in FORMS))


def praise(answer: Answer) -> float:
    """How often a good word stands there, with no end: a reward that can be hacked."""
    return float(sum(word in GOOD for word in re.findall(r"\w+", answer.text)))


def repeats(answer: Answer) -> float:
    """Words that the text has said before."""
    words = re.findall(r"\w+", answer.text)
    return float(len(words) - len(set(words)))


def cyrillic(answer: Answer) -> float:
    """Share of the letters that are Cyrillic."""
    letters = [letter for letter in answer.text if letter.isalpha()]
    return sum("а" <= letter.lower() <= "я" for letter in letters) / max(1, len(letters))


ONE = "A warm comedy with a warm story and a warm cast, made by Ana."
"""The only text that `parroted` pays in full."""


def parroted(answer: Answer) -> float:
    """Share of the words that are those of one sentence: a policy that is sure of all tokens."""
    said, wanted = answer.text.split(), ONE.split()
    right = sum(one == other for one, other in zip(said, wanted, strict=False))
    return right / max(len(said), len(wanted))
