"""A row of the battery: what is done, what must come of it, and what came."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Size:
    """How much of everything the battery does; the fast part in CI takes smaller numbers.

    Args:
        kills: Lives of `accord run` that are killed, a quarter of them inside a save.
        flips: Random bits that are flipped in checkpoint files, one at a time.
        fuzz: Files of arbitrary or damaged bytes that are read as data.
        streams: Answers that the server streams at once.
        seed: Of everything that is drawn.
    """

    kills: int = 100
    flips: int = 200
    fuzz: int = 10_000
    streams: int = 64
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of a row.

    Args:
        passed: Whether all of it is as the row asks.
        figure: The row's numbers in a few words, such as "200 of 200 flips detected".
        details: Plain JSON for the result file: counts, and every case that failed, by name.
    """

    passed: bool
    figure: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of `docs/reliability.md`.

    Args:
        key: Its name on the command line, such as `kills`.
        title: What is done.
        passes_when: What must come of it.
        run: Gets an empty folder of its own and the sizes.
    """

    key: str
    title: str
    passes_when: str
    run: Callable[[Path, Size], Outcome]
