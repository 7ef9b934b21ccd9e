"""The procedural tasks a source may name, and the options of each."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from accord.config.base import Strict
from accord.config.options import parse_options
from accord.errors import did_you_mean

TASK = "task:"
"""How the name of a source that is a task begins."""

GYM = "reasoning_gym"


class TaskOptions(Strict):
    """What every task takes."""

    count: int = Field(default=1000, gt=0)
    """Problems; the first ones stay the same when it is raised."""
    seed: int = 0
    """Seed of the problems."""


class OwnOptions(TaskOptions):
    """What Accord's own tasks take."""

    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the completions that make the task's typical mistake: imperfect demonstrations to
    learn from. The column `answer` is right all the same."""


class AdditionOptions(OwnOptions):
    """Sums of whole numbers."""

    digits: int = Field(default=2, ge=1, le=18)
    """Of the largest number, where high isn't given."""
    terms: int = Field(default=2, ge=2, le=9)
    """Numbers in a sum."""
    low: int = Field(default=0, ge=0)
    """Smallest number that is added."""
    high: int | None = None
    """Largest number that is added; none: the largest of `digits` digits."""

    @property
    def largest(self) -> int:
        """The largest number that is added."""
        return 10**self.digits - 1 if self.high is None else self.high

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.low > self.largest:
            raise ValueError(f"low {self.low} is above high {self.largest}; lower it")
        return self


class LettersOptions(OwnOptions):
    """Strings of letters."""

    length: int = Field(default=5, ge=1)
    """Letters in the shortest problems."""
    longest: int | None = None
    """Letters in the longest; none: all have the same length."""
    alphabet: str = Field(default="abcdefghijklmnopqrstuvwxyz", min_length=2)
    """Letters that the problems are made of."""

    @property
    def lengths(self) -> range:
        """Every length that occurs."""
        return range(self.length, 1 + (self.length if self.longest is None else self.longest))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.lengths:
            raise ValueError(f"longest {self.longest} is below length {self.length}; raise it")
        if len(set(self.alphabet)) < len(self.alphabet) or any(map(str.isspace, self.alphabet)):
            raise ValueError("alphabet repeats a letter or holds a blank; write each once")
        return self


class SortOptions(LettersOptions):
    """Different letters to be sorted."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.lengths[-1] > len(self.alphabet):
            raise ValueError(
                f"{self.lengths[-1]} different letters are more than the alphabet has; shorten"
            )
        return self


class GymOptions(TaskOptions):
    """Beside count and seed, the settings of the task in reasoning-gym."""

    model_config = ConfigDict(extra="allow")


TASKS: Mapping[str, type[TaskOptions]] = {
    "addition": AdditionOptions,
    "sort": SortOptions,
    "reverse": LettersOptions,
    GYM: GymOptions,
}
"""The name of a task, up to a slash, and the options it takes."""


def parse_task(name: str, options: Mapping[str, Any]) -> tuple[str, str, Any]:
    """The task of a source `task:<name>`, what follows its slash, and its checked options.

    Raises:
        ValueError: There is no such task or option, as `what; how to mend it`.
    """
    task, _, rest = name.partition("/")
    if task not in TASKS:
        raise ValueError(f"there is no task '{name}'; {did_you_mean(task, TASKS)}")
    if bool(rest) != (task == GYM):
        full = f"{TASK}{GYM}/<task>" if task == GYM else TASK + task
        raise ValueError(f"'{TASK}{name}' is no task; write {full}")
    return task, rest, parse_options(TASKS[task], options, f"the task '{name}'")
