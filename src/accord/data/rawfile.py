"""A file as it comes: raw rows, what can be wrong with one, and lines of text out of bytes."""

import codecs
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from accord.errors import AccordError, did_you_mean

MAX_LINE = 32 * 2**20
"""Bytes a line may have; a longer one is a broken file, not a document."""

SAMPLE = 80
"""Characters of a bad row that a message shows."""


@dataclass(frozen=True)
class RawRow:
    """A row as it stands in its file; `where` is `file:line`."""

    mapping: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: what is wrong, how it begins, how to mend it."""

    where: str
    why: str
    sample: str = ""
    fix: str = ""

    def error(self) -> AccordError:
        """The same as an exception."""
        row = f"\n  row:   {self.sample}" if self.sample else ""
        remedy = "or set on_bad_row: skip (counted, at most 1 %)"
        return AccordError(self.why + row, self.where, f"{self.fix or 'mend the row'}, {remedy}")


@dataclass(frozen=True)
class FilteredRow:
    """A sound row that the source's own settings leave out; counted, never an error."""

    where: str
    why: str


@dataclass(frozen=True)
class Line:
    """A line of text without its end; `fault` says why it could not be decoded."""

    number: int
    text: str
    ended: bool = True
    fault: str = ""


@dataclass(frozen=True)
class TextFile:
    """An open file of text, the name that messages call it, and how its bytes are read."""

    stream: BinaryIO
    name: str
    encoding: str = "utf-8"
    columns: tuple[str, ...] | None = None

    def lines(self) -> Iterator[Line]:
        """Decoded lines, numbered from 1; a leading byte-order mark is taken away."""
        codec = _line_codec(self.encoding, self.name)
        for number, raw in enumerate(_raw_lines(self.stream, self.name), 1):
            if raw is None:
                fault = f"line is longer than {MAX_LINE // 2**20} MB"
                yield Line(number, "", fault=fault)
                continue
            if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise AccordError(
                    "The file is UTF-16.", self.name, "convert it: iconv -f UTF-16 -t UTF-8"
                )
            if number == 1 and codec == "utf-8":
                raw = raw.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 -- the mark is no text
            body = raw.rstrip(b"\r\n")
            try:
                yield Line(number, body.decode(codec), ended=raw.endswith(b"\n"))
            except UnicodeDecodeError as error:
                byte = f"0x{body[error.start]:02x}"
                fault = f"not {self.encoding}: byte {byte} at position {error.start + 1}"
                yield Line(number, body.decode(codec, "replace"), fault=fault)

    def bad(self, line: Line) -> BadRow:
        """The line's own fault as a bad row."""
        fix = f"split the line (limit {MAX_LINE} bytes)"
        if line.fault.startswith("not "):
            fix = "convert the file to UTF-8, or name its encoding (encoding: cp1252)"
        return BadRow(f"{self.name}:{line.number}", line.fault, line.text[:SAMPLE], fix)


def damaged(kind: str, name: str, error: BaseException) -> AccordError:
    """What to raise for a file that is not whole."""
    first = (str(error).splitlines() or [""])[0]
    return AccordError(
        f"Not a whole {kind} file: {first}.", name, "the file is cut off or damaged; copy it again"
    )


def _line_codec(encoding: str, name: str) -> str:
    try:
        codec = codecs.lookup(encoding).name
        if "\n".encode(codec) == b"\n":
            return codec
    except LookupError:
        hint = did_you_mean(encoding, ("utf-8", "latin-1", "cp1252", "euc-kr", "shift-jis"))
        raise AccordError(f"Unknown encoding '{encoding}'.", name, hint) from None
    raise AccordError(f"Lines cannot be found in {encoding}.", name, "convert the file to UTF-8")


def _raw_lines(stream: BinaryIO, name: str) -> Iterator[bytes | None]:
    """Lines with their ends; None for one past the limit, of which no more is held."""
    try:
        while raw := stream.readline(MAX_LINE + 1):
            if len(raw) <= MAX_LINE:
                yield raw
                continue
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(MAX_LINE)
            yield None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged("gzip", name, error) from None
