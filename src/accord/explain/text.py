"""Meanings as a terminal shows them, and the list of all names in columns."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from accord.explain.keys import RECIPE
from accord.explain.names import COMMANDS, Meaning

MARGIN = 10
GAP = 2
PLACES_SHOWN = 4


def lines(meanings: Sequence[Meaning], width: int) -> list[str]:
    """Every meaning of a name, a blank line between two."""
    shown: list[str] = []
    for meaning in meanings:
        title = f"{meaning.name}: {_sort(meaning)}"
        shown += [*([""] if shown else []), *textwrap.wrap(title, width, subsequent_indent="  ")]
        shown += textwrap.wrap(
            meaning.what, width - GAP, initial_indent="  ", subsequent_indent="  "
        )
        for label, words in parts(meaning):
            shown += _part(label, words, width)
    return shown


def parts(meaning: Meaning) -> Iterator[tuple[str, str]]:
    """Label and words of each part that a meaning has."""
    told = (
        ("rows", meaning.rows),
        ("formula", meaning.formula),
        ("source", meaning.source),
        ("written", _written(meaning)),
        ("key", _places(meaning)),
        ("takes" if meaning.sort == "recipe key" else "settings", meaning.takes),
        ("default", meaning.default),
        ("healthy" if meaning.sort != "loss" else "start", meaning.healthy),
        ("otherwise", meaning.bad),
        ("try", meaning.try_),
    )
    yield from ((label, words) for label, words in told if words)


def listing(subjects: Mapping[str, Mapping[str, Sequence[str]]], width: int) -> list[str]:
    """Names by subject and sort, in columns that fit the width."""
    shown: list[str] = []
    for subject, sorts in subjects.items():
        for sort, names in sorts.items():
            shown += [f"{subject}: {sort}", *columns(names, width), ""]
    last = "accord explain NAME says what it is; dpo.NAME what it is in that stage"
    return [*shown, *textwrap.wrap(last, width)]


def columns(names: Sequence[str], width: int) -> list[str]:
    """Names in as many columns of one width as fit, read downwards."""
    if not names:
        return []
    cell = max(map(len, names)) + GAP
    across = max(1, (width - GAP) // cell)
    down = -(-len(names) // across)
    return [
        "  " + "".join(name.ljust(cell) for name in names[row::down]).rstrip()
        for row in range(down)
    ]


def _sort(meaning: Meaning) -> str:
    if not meaning.stages or meaning.sort == "kind of stage":
        return meaning.sort
    where = "the recipe" if meaning.stages == (RECIPE,) else ", ".join(meaning.stages)
    return f"{meaning.sort} of {where}"


def _written(meaning: Meaning) -> str:
    return f"in {meaning.file}" if meaning.file else ""


def _places(meaning: Meaning) -> str:
    """The places of a key; of one that stands nearly everywhere the first."""
    if meaning.sort == "kind of stage":
        command = COMMANDS.get(meaning.name, meaning.name)
        return f"{meaning.places[0]} in a recipe; `accord {command}` runs one alone"
    if meaning.sort == "loss":
        return f"{meaning.places[0]}: {meaning.name}"
    first, more = meaning.places[:PLACES_SHOWN], len(meaning.places) - PLACES_SHOWN
    told = ", ".join(first)
    return f"{told} and {more} more places" if more > 0 else told if told != meaning.name else ""


def _part(label: str, words: str, width: int) -> list[str]:
    indent = " " * (GAP + MARGIN + GAP)
    head = f"  {label.ljust(MARGIN)}  "
    return textwrap.wrap(
        words, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
    )
