"""What a data file holds and what is wrong with it, without stopping at the first bad row."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from accord.config.data import SourceConfig
from accord.data.formats import IDENTICAL, Converter
from accord.data.load import words_of
from accord.data.rawfile import BadRow, FilteredRow, RawRow
from accord.data.rows import PairRow, Row
from accord.data.sources import read
from accord.data.split import row_text
from accord.errors import AccordError

SHOWN = 20
"""Bad rows that `lines` prints; `to_json` has all."""

PERCENTILES = (0, 50, 95, 100)


class Encoder(Protocol):
    """The part of a tokenizer that counting needs."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...


@dataclass
class CheckReport:
    """Findings about one file; `ok` where every row can be used.

    Args:
        path: The file, as given.
        formats: Rows by the name of their format.
        rows: Rows read, sound or not.
        bad: The rows that cannot be used.
        duplicates: Sound rows whose content stood before.
        identical: Pairs whose sides are equal; a stage drops them.
        too_long: Sound rows of more than `max_length` tokens; none where that is unknown.
        lengths: Percentiles (0, 50, 95, 100) of sound rows, by unit.
    """

    path: str
    formats: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    duplicates: int = 0
    identical: int = 0
    too_long: int | None = None
    lengths: dict[str, list[int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No bad row; duplicates and identical pairs are dropped by a stage and no fault."""
        return not self.bad

    def to_json(self) -> dict[str, Any]:
        """Every finding, as JSON values."""
        return {
            "path": self.path,
            "ok": self.ok,
            "formats": dict(self.formats),
            "rows": self.rows,
            "bad": [{"where": row.where, "why": row.why, "fix": row.fix} for row in self.bad],
            "duplicates": self.duplicates,
            "identical_pairs": self.identical,
            "too_long": self.too_long,
            "lengths": {
                unit: dict(zip(("min", "p50", "p95", "max"), values, strict=True))
                for unit, values in self.lengths.items()
            },
        }

    def lines(self) -> list[str]:
        """The report for a terminal, a line each."""
        named = ", ".join(f"{name} ({count})" for name, count in self.formats.items())
        out = [
            f"{self.path}: {'ok' if self.ok else 'not usable as it is'}",
            f"  format      {named or 'none'}",
            f"  rows        {self.rows} read, {sum(self.formats.values())} sound, "
            f"{len(self.bad)} bad",
            f"  duplicates  {self.duplicates} (kept once)",
        ]
        if self.identical:
            out.append(f"  identical   {self.identical} pairs with equal sides (dropped)")
        if self.too_long is not None:
            out.append(f"  too long    {self.too_long} (truncated or dropped)")
        for unit, (least, median, high, most) in self.lengths.items():
            out.append(f"  {unit:<11} median {median}, 95 % {high}, from {least} to {most}")
        for row in self.bad[:SHOWN]:
            out.append(f"  {row.where}: {row.why}" + (f" ({row.fix})" if row.fix else ""))
        if len(self.bad) > SHOWN:
            out.append(f"  and {len(self.bad) - SHOWN} more bad rows")
        return out


def check_file(
    source: SourceConfig | str | Path,
    cache: Path,
    tokenizer: Encoder | None = None,
    max_length: int | None = None,
) -> CheckReport:
    """Read a whole file, folder or other source, with its settings if given, and report on it.

    Raises:
        AccordError: It cannot be found or read as a whole, is empty, or fits no format.
    """
    source = source if isinstance(source, SourceConfig) else _named(str(source))
    report = CheckReport(source.source)
    convert = Converter(source)
    seen: set[str] = set()
    counts = {"characters": list[int](), "words": list[int](), "tokens": list[int]()}
    for item in read(source, cache):
        report.rows += 1
        row = convert(item) if isinstance(item, RawRow) else item
        if isinstance(row, BadRow):
            report.bad.append(row)
        elif isinstance(row, FilteredRow):
            report.identical += row.why == IDENTICAL
        else:
            report.formats[convert.format_of(row.where).name] += 1
            report.duplicates += row.id in seen
            seen.add(row.id)
            text = row_text(row)
            counts["characters"].append(len(text))
            counts["words"].append(words_of(row))
            if tokenizer is not None:
                counts["tokens"].append(_tokens(row, tokenizer.encode))
    if max_length is not None and tokenizer is not None:
        report.too_long = sum(tokens > max_length for tokens in counts["tokens"])
    report.lengths = {
        unit: np.percentile(values, PERCENTILES, method="inverted_cdf").astype(int).tolist()
        for unit, values in counts.items()
        if values
    }
    return report


def _named(source: str) -> SourceConfig:
    """A source of that name, without settings."""
    try:
        return SourceConfig(source=source)
    except ValidationError as error:  # a task that isn't there
        what, _, fix = error.errors()[0]["msg"].removeprefix("Value error, ").partition("; ")
        raise AccordError(f"{what}.", source, fix) from None


def _tokens(row: Row, encode: Callable[[str], list[int]]) -> int:
    """Tokens of the longer side with its prompt, without those a chat template adds."""
    length = len(encode(row_text(row)))
    if isinstance(row, PairRow):
        other = "\n".join(message.content for message in row.prompt + row.rejected)
        length = max(length, len(encode(other)))
    return length
