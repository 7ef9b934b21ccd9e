"""The reward functions a recipe may name, and the options of each."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from accord.config.base import Strict
from accord.config.options import NoOptions, parse_options
from accord.errors import did_you_mean


class LengthOptions(Strict):
    """Neither: the count of tokens itself."""

    target: int | None = Field(default=None, ge=0)
    """Minus the distance from this many tokens."""
    max: int | None = Field(default=None, ge=0)
    """Minus the tokens above this many."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.target is not None and self.max is not None:
            raise ValueError("give target or max, not both")
        return self


class RegexOptions(Strict):
    """A regular expression that the text is to match."""

    pattern: str
    """In Python's syntax."""
    match: Literal["search", "full"] = "search"
    """Whether it has to match somewhere or the whole text."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}; mend {pattern!r}") from None
        return pattern


class LanguageOptions(Strict):
    """The language that the text is to be in."""

    code: str
    """ISO 639 code, such as `en`."""
    score: Literal["probability", "match"] = "probability"
    """match: 1 where the language is the likeliest, else 0."""
    among: tuple[str, ...] | None = None
    """Codes of the languages to choose from; none: all that are known."""


class ColumnOptions(Strict):
    """The column of the row that holds the right answer."""

    column: str = "answer"
    """Its name."""


class EntryOptions(Strict):
    """The column of the row that holds the problem's entry."""

    column: str = "entry"
    """Its name."""


class KeywordOptions(Strict):
    """Handed to a function of the user's own as keyword arguments."""

    model_config = ConfigDict(extra="allow")


FUNCTIONS: Mapping[str, type[Strict]] = {
    "vader": NoOptions,
    "length": LengthOptions,
    "regex": RegexOptions,
    "language": LanguageOptions,
    "exact": ColumnOptions,
    "math_verify": ColumnOptions,
    "reasoning_gym": EntryOptions,
    "python": KeywordOptions,
}
"""What stands before the first colon of a function's name, and the options it takes."""

ARGUMENTS: Mapping[str, str] = {
    "reasoning_gym": "reasoning_gym:<task>",
    "python": "python:module:function",
}
"""Functions whose name goes on after a colon, and how it is written in full."""


def parse_function(function: str, options: Mapping[str, Any]) -> tuple[str, str, Any]:
    """The kind of a reward function, what follows its colon, and its checked options.

    Raises:
        ValueError: There is no such function or option, as `what; how to mend it`.
    """
    kind, _, argument = function.partition(":")
    if kind not in FUNCTIONS:
        shown = [ARGUMENTS.get(name, name) for name in FUNCTIONS]
        hint = did_you_mean(kind, FUNCTIONS)
        hint = hint if hint.startswith("did") else "known: " + ", ".join(shown)
        raise ValueError(f"there is no reward function '{function}'; {hint}")
    full = ARGUMENTS.get(kind, kind)
    if [bool(part) for part in function.split(":")] != [True] * (1 + full.count(":")):
        raise ValueError(f"'{function}' is no reward function; write {full}")
    return kind, argument, parse_options(FUNCTIONS[kind], options, f"the reward '{function}'")
