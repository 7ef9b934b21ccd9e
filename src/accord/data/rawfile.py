"""A file as it comes: raw rows, what can be wrong with one, and lines of text out of bytes."""

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from accord.errors import AccordError, did_you_mean

UNPACKED = (EOFError, gzip.BadGzipFile, zlib.error)
"""What is raised for a packed file that is not whole."""

UNREADABLE = (*UNPACKED, OSError, ValueError, OverflowError)
"""What is raised for a table of columns that is not whole."""

MAX_LINE = 32 * 2**20
"""Bytes a line may have; a longer one is a broken file, not a document."""

SAMPLE = 80
"""Characters of a bad row that a message shows."""

TO_UTF8 = "convert it: iconv -f UTF-16 -t UTF-8"
ENCODING = "convert the file to UTF-8, or name its encoding (encoding: cp1252)"
NO_PICKLE = "save it as .jsonl or .parquet: a pickle can run code when it is read, and never is"
UNPACK = "unpack it, or pack a single file with gzip (.jsonl.gz)"

_MAGIC = (
    (b"PAR1", "Parquet", "rename it: ….parquet"),
    (b"ARROW1", "an Arrow file", "save it as .parquet or .jsonl"),
    (b"\x1f\x8b", "packed with gzip", "rename it: ….gz behind its own suffix (.jsonl.gz)"),
    (b"PK\x03\x04", "a zip archive (or a torch checkpoint)", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed with zstandard", UNPACK),
    *((b"\x80" + bytes([version]), "a pickle", NO_PICKLE) for version in range(2, 6)),
)
"""First bytes of files that are no text, what they are, and how to mend it."""


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
        mend = self.fix or "mend the row"
        stop = "" if mend.endswith("?") else "."
        skip = "Or set on_bad_row: skip (counted, at most 1 %)"
        return AccordError(self.why + row, self.where, f"{mend}{stop} {skip}")


@dataclass(frozen=True)
class FilteredRow:
    """A sound row that the source's own settings leave out; counted, never an error."""

    where: str
    why: str


@dataclass(frozen=True)
class Line:
    """A line of text without its end; `fault` says why it is no text, `fix` how to mend it."""

    number: int
    text: str
    ended: bool = True
    fault: str = ""
    fix: str = ""


@dataclass(frozen=True)
class TextFile:
    """An open file of text, the name that messages call it, and how its bytes are read."""

    stream: BinaryIO
    name: str
    encoding: str = "utf-8"
    columns: tuple[str, ...] | None = None

    def lines(self) -> Iterator[Line]:
        """Decoded lines, numbered from 1; a leading byte-order mark is taken away."""
        codec = line_codec(self.encoding, self.name)
        for number, raw in enumerate(_raw_lines(self.stream, self.name), 1):
            if raw is None:
                fault = f"line is longer than {MAX_LINE // 2**20} MB"
                yield Line(number, "", fault=fault, fix=f"split the line (limit {MAX_LINE} bytes)")
                continue
            if number == 1:
                _check_is_text(raw, self.name)
                if codec == "utf-8":
                    raw = raw.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 -- the mark is no text
            yield self._line(number, raw, codec)

    def bad(self, line: Line) -> BadRow:
        """The line's own fault as a bad row."""
        return BadRow(f"{self.name}:{line.number}", line.fault, sample_of(line.text), line.fix)

    def _line(self, number: int, raw: bytes, codec: str) -> Line:
        body = raw.rstrip(b"\r\n")
        ended = raw.endswith(b"\n")
        try:
            text = body.decode(codec)
        except UnicodeDecodeError as error:
            byte = f"0x{body[error.start]:02x}"
            fault = f"not {self.encoding}: byte {byte} at position {error.start + 1}"
            return Line(number, body.decode(codec, "replace"), ended, fault, ENCODING)
        if (nul := text.find("\0")) >= 0:
            fault = f"holds a NUL byte at position {nul + 1}, which no text does"
            return Line(number, text, ended, fault, "is it binary, or UTF-16? " + TO_UTF8)
        return Line(number, text, ended)


def sample_of(text: str, around: int = 0) -> str:
    """The part of a bad row that a message shows, with escapes for what cannot be printed."""
    start = max(0, around - SAMPLE // 2) if around >= SAMPLE else 0
    part = text[start : start + SAMPLE]
    return (part if part.isprintable() else repr(part)[1:-1][:SAMPLE]).rstrip()


def row_sample(row: Mapping[str, Any]) -> str:
    """The beginning of a row as JSON, as its file holds it."""
    try:
        return sample_of(json.dumps(row, ensure_ascii=False, default=str))
    except RecursionError:
        return ""


def _check_is_text(raw: bytes, name: str) -> None:
    """Refuse what its first bytes show to be no UTF-8 text, whatever its name says."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise AccordError("The file is UTF-16.", name, TO_UTF8)
    for magic, kind, fix in _MAGIC:
        if raw.startswith(magic):
            raise AccordError(f"The file is {kind}, whatever its name ends in.", name, fix)


def damaged(kind: str, name: str, error: BaseException) -> AccordError:
    """What to raise for a file that is not whole."""
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, gzip.BadGzipFile) and first.startswith("Not a gzipped file"):
        what = "The file is not packed with gzip, though its name ends in .gz."
        return AccordError(what, name, "take .gz off its name")
    return AccordError(
        f"Not a whole {kind} file: {first.rstrip('.')}.",
        name,
        "the file is cut off or damaged; copy it again",
    )


def line_codec(encoding: str, name: str) -> str:
    """Python's name of an encoding in which a line ends with the byte of a line feed."""
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
    except UNPACKED as error:
        raise damaged("gzip", name, error) from None
