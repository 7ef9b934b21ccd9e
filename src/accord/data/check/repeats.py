"""Rows, prompts and answers that come again, and preferences that contradict each other."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.data.check.components import on_cycles
from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.check.parts import PARTS, Keys, answers_of, prompt_of
from accord.data.rows import LabelRow, PairRow, Row

MANY_ROWS = 0.01
"""Share of duplicates from which they are more than a note."""
MANY_PROMPTS = 0.1
"""Share of rows with one and the same prompt from which there is a warning."""
MANY_ANSWERS = (5, 0.01)
"""Rows with one and the same answer from which there is a warning: at least, and as a share."""
SHOWN = 60
"""Characters of a repeated text that are shown."""


@dataclass(frozen=True)
class Most:
    """The text of a part that most rows share: in how many rows, how it begins, where first."""

    count: int
    begins: str
    where: str

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {"count": self.count, "begins": self.begins, "where": self.where}


@dataclass
class Repeats:
    """What comes again; "equal" is but for case and blanks.

    Args:
        exact: Rows whose content stood before; a stage keeps the first.
        normalised: Other rows that are equal to an earlier one.
        equal_sides: Pairs whose sides are equal, though not identical.
        contradictory: Pairs or labels that cannot all hold: an answer is above itself by way of
            others (A over B and B over A, or a longer circle), or has both labels.
        chained: Pairs whose chosen side is rejected in another one of the prompt, as in rankings.
        prompts: Different prompts.
        prompted: Rows with a prompt.
        most: The text that most rows share, by part; only where it comes more than once.
    """

    exact: Tally = field(default_factory=Tally)
    normalised: Tally = field(default_factory=Tally)
    equal_sides: Tally = field(default_factory=Tally)
    contradictory: Tally = field(default_factory=Tally)
    chained: int = 0
    prompts: int = 0
    prompted: int = 0
    most: dict[str, Most] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "duplicates": self.exact.to_json(),
            "normalised_duplicates": self.normalised.to_json(),
            "equal_sides": self.equal_sides.to_json(),
            "contradictory": self.contradictory.to_json(),
            "chained": self.chained,
            "prompts": self.prompts,
            "most": {name: most.to_json() for name, most in self.most.items()},
        }


def repeats_of(rows: Sequence[Row], keys: Sequence[Keys]) -> Repeats:
    """Count what comes again in `rows`, whose keys are given beside them."""
    found = Repeats()
    _duplicates(rows, keys, found)
    for row, key in zip(rows, keys, strict=True):
        if isinstance(row, PairRow) and key.answers[0] == key.answers[1]:
            found.equal_sides.add(row.where)
    _pairs(rows, keys, found)
    _labels(rows, keys, found)
    asked = Counter(key.prompt for key in keys if key.prompt)
    found.prompts, found.prompted = len(asked), asked.total()
    found.most = _most(rows, keys)
    return found


def _duplicates(rows: Sequence[Row], keys: Sequence[Keys], found: Repeats) -> None:
    ids: dict[str, str] = {}
    alike: dict[Hashable, str] = {}
    for row, key in zip(rows, keys, strict=True):
        label = row.label if isinstance(row, LabelRow) else None
        if row.id in ids:
            found.exact.add(f"{row.where} repeats {ids[row.id]}")
        elif (key, label) in alike:
            found.normalised.add(f"{row.where} repeats {alike[key, label]}")
        ids.setdefault(row.id, row.where)
        alike.setdefault((key, label), row.where)


def _pairs(rows: Sequence[Row], keys: Sequence[Keys], found: Repeats) -> None:
    """Pairs on a circle of preferences, and those that are a link of a chain."""
    pairs = [
        (row, key)
        for row, key in zip(rows, keys, strict=True)
        if isinstance(row, PairRow) and key.answers[0] != key.answers[1]
    ]
    better = {(key.prompt, key.answers[0]) for _, key in pairs}
    worse = {(key.prompt, key.answers[1]) for _, key in pairs}
    linked = [(row, key) for row, key in pairs if (key.prompt, key.answers[0]) in worse]
    # an edge of a circle has others before it and behind it, which few edges have
    inner = [(row, key) for row, key in linked if (key.prompt, key.answers[1]) in better]
    edges = [((key.prompt, key.answers[0]), (key.prompt, key.answers[1])) for _, key in inner]
    for (row, _), circular in zip(inner, on_cycles(edges), strict=True):
        if circular:
            found.contradictory.add(row.where)
    found.chained = len(linked) - found.contradictory.count


def _labels(rows: Sequence[Row], keys: Sequence[Keys], found: Repeats) -> None:
    labelled = [(r, k) for r, k in zip(rows, keys, strict=True) if isinstance(r, LabelRow)]
    said = {(key, row.label) for row, key in labelled}
    for row, key in labelled:
        if (key, not row.label) in said:
            found.contradictory.add(row.where)


def _most(rows: Sequence[Row], keys: Sequence[Keys]) -> dict[str, Most]:
    """For each part the text that most rows share."""
    counts: dict[str, Counter[bytes]] = {}
    first: dict[tuple[str, bytes], Row] = {}
    for row, key in zip(rows, keys, strict=True):
        parts = dict(zip(answers_of(row), key.answers, strict=True))
        if key.prompt:
            parts["prompt"] = key.prompt
        for name, part in parts.items():
            counts.setdefault(name, Counter())[part] += 1
            first.setdefault((name, part), row)
    found: dict[str, Most] = {}
    for name in (part for part in PARTS if part in counts):
        part, count = counts[name].most_common(1)[0]
        if count > 1:
            row = first[name, part]
            said = prompt_of(row) if name == "prompt" else answers_of(row)[name]
            found[name] = Most(count, said[-1].content.strip()[:SHOWN], row.where)
    return found


def findings(repeats: Repeats, rows: int) -> list[Finding]:
    """What of the repeats matters, out of `rows` sound ones."""
    return [*_said_again(repeats, rows), *_faulty(repeats), *_same_texts(repeats, rows)]


def _said_again(repeats: Repeats, rows: int) -> Iterator[Finding]:
    for name, tally, noun, but, advice in (
        ("duplicates", repeats.exact, "exact repeat", "", "a stage keeps the first"),
        (
            "normalised_duplicates",
            repeats.normalised,
            "repeat",
            " but for case and blanks",
            "keep one of each: a stage takes them for different rows",
        ),
    ):
        if tally.count:
            severity = "warning" if tally.count > MANY_ROWS * rows else "note"
            of = share(tally.count, rows)
            says = f"{counted(tally.count, noun)} ({of} of rows) of an earlier row{but}."
            yield Finding(severity, name, says, advice, tuple(tally.places))


def _faulty(repeats: Repeats) -> Iterator[Finding]:
    for name, tally, what, advice in (
        (
            "equal_sides",
            repeats.equal_sides,
            "sides that are equal but for case and blanks, which is all they teach",
            "drop them",
        ),
        (
            "contradictory",
            repeats.contradictory,
            "a preference or label that other rows of the same prompt contradict",
            "keep one direction; or allow for noise: robust, or label_smoothing",
        ),
    ):
        if tally.count:
            has = "has" if tally.count == 1 else "have"
            says = f"{counted(tally.count, 'row')} {has} {what}."
            yield Finding("warning", name, says, advice, tuple(tally.places))


def _same_texts(repeats: Repeats, rows: int) -> Iterator[Finding]:
    for name, most in repeats.most.items():
        of = f"{counted(most.count, 'row')} ({share(most.count, rows)}): {most.begins!r}."
        if name == "prompt" and repeats.prompts == 1:
            says = f"All {repeats.prompted:,} prompts are the same."
            advice = "the model will learn an answer, not to answer"
        elif name == "prompt" and most.count >= max(2, MANY_PROMPTS * rows):
            says, advice = f"One prompt is in {of}", "draw fewer rows of it"
        elif name not in ("prompt", "text") and most.count >= max(
            MANY_ANSWERS[0], MANY_ANSWERS[1] * rows
        ):
            says = f"One {name} text is in {of}"
            advice = "its wording alone may be learned; thin it out"
        else:
            continue
        yield Finding("warning", f"same_{name}", says, advice, (most.where,))
