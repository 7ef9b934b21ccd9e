"""A source read to its end: the sound rows, the bad ones, and those its settings leave out."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from accord.config.data import SourceConfig
from accord.data.account import Account
from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.formats import IDENTICAL, Converter
from accord.data.load import BAD, words_of
from accord.data.rawfile import BadRow, FilteredRow, RawRow
from accord.data.rows import Row
from accord.data.sources import read, source_name
from accord.errors import AccordError


@dataclass
class Reading:
    """One source, read.

    Args:
        source: What was read.
        formats: Sound rows by the name of their format.
        read: Rows read, sound or not.
        rows: The sound rows, duplicates among them.
        bad: The rows that cannot be used.
        left_out: Rows that are sound and not trained on, by the reason.
        unused: Columns that no format reads, and in how many rows they are.
    """

    source: SourceConfig
    formats: Counter[str] = field(default_factory=Counter)
    read: int = 0
    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    left_out: dict[str, Tally] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The source's key in accounts."""
        return source_name(self.source)

    def leave_out(self, why: str, place: str) -> None:
        """Count a sound row that a stage would not be given."""
        self.left_out.setdefault(why, Tally()).add(place)

    def account(self) -> Account:
        """What a stage's account would say before duplicates are looked for."""
        account = Account()
        for row in self.rows:
            account.kept(self.name, language=row.language)
        for why, tally in self.left_out.items():
            account.dropped(self.name, why, tally.count)
        if self.bad:
            account.dropped(self.name, BAD, len(self.bad))
        return account


def read_source(source: SourceConfig | str | Path, cache: Path) -> Reading:
    """Read all of a file, folder or other source, with its settings if given.

    Raises:
        AccordError: It cannot be found or read as a whole, is empty, or fits no format.
    """
    config = source if isinstance(source, SourceConfig) else named_source(str(source))
    reading, convert = Reading(config), Converter(config)
    for item in read(config, cache):
        reading.read += 1
        row = convert(item) if isinstance(item, RawRow) else item
        if isinstance(row, BadRow):
            reading.bad.append(row)
        elif isinstance(row, FilteredRow):
            reading.leave_out(row.why, row.where)
        elif words_of(row) < (config.min_words or 0):
            reading.leave_out(f"shorter than {config.min_words} words", row.where)
        else:
            reading.formats[convert.format_of(row.where).name] += 1
            reading.unused.update(row.extra.keys())
            reading.rows.append(row)
    return reading


def named_source(
    source: str,
    sha256: str | None = None,
    language: str | None = None,
    strings: Literal["text", "turns"] = "text",
) -> SourceConfig:
    """A source of that name with the few settings that a command takes.

    Args:
        source: As a recipe's `source`.
        sha256: Hash of a package's archive.
        language: As a recipe's `language`: a name, `column:NAME` or `detect`.
        strings: As a recipe's `strings`.

    Raises:
        AccordError: There is no such task.
    """
    try:
        return SourceConfig(source=source, sha256=sha256, language=language, strings=strings)
    except ValidationError as error:  # a task that isn't there
        what, _, fix = error.errors()[0]["msg"].removeprefix("Value error, ").partition("; ")
        raise AccordError(f"{what}.", source, fix) from None


def findings(reading: Reading) -> list[Finding]:
    """Bad rows, rows left out, more than one format."""
    found: list[Finding] = []
    if reading.bad:
        count, places = len(reading.bad), tuple(row.where for row in reading.bad[:3])
        says = f"{counted(count, 'row')} of {reading.read:,} cannot be used."
        found.append(Finding("error", "bad_rows", says, "mend them; each is listed below", places))
    for why, tally in reading.left_out.items():
        of = share(tally.count, reading.read)
        says = f"{counted(tally.count, 'row')} ({of}) left out: {why}."
        # what the source's own settings leave out is meant to be
        severity = "warning" if why == IDENTICAL else "note"
        found.append(Finding(severity, "left_out", says, "", tuple(tally.places)))
    if len(reading.formats) > 1:
        names = ", ".join(f"{name} ({count:,})" for name, count in reading.formats.items())
        says = f"The files have different formats: {names}."
        found.append(Finding("note", "formats", says, "give each format as a source of its own"))
    return found
