"""Bytes to mappings: one generator a file type, each row with its place, each fault with its line.

A fault of one row is yielded as a `BadRow`, so that the caller can stop, skip or list them all;
what is wrong with a file as a whole (cut off, not that type at all) is raised.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accord.data.jsonrows import read_json, read_jsonl
from accord.data.rawfile import (
    MAX_LINE,
    NO_PICKLE,
    UNPACK,
    UNREADABLE,
    BadRow,
    Line,
    RawRow,
    TextFile,
    damaged,
    sample_of,
)
from accord.errors import AccordError, did_you_mean

_SEPARATORS = {
    "\t": "mend the row; no cell can hold a tab or a line break here, as it can in .csv",
    ",": "mend the row; a cell that holds a comma or a line break stands in double quotes",
}


def read_text(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Documents separated by blank lines, each a `text` row placed at its first line."""
    document: list[str] = []
    first = 1
    for line in file.lines():
        if line.fault:
            yield file.bad(line)
        elif line.text.strip():
            if not document:
                first = line.number
                _check_no_rows(line, file.name)
            document.append(line.text)
        elif document:
            yield RawRow({"text": "\n".join(document)}, f"{file.name}:{first}")
            document = []
    if document:
        yield RawRow({"text": "\n".join(document)}, f"{file.name}:{first}")


def _check_no_rows(line: Line, name: str) -> None:
    """Refuse a text file whose first document is a JSON row: nobody trains on the braces."""
    if line.number > 1 or not line.text.startswith("{"):
        return
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError):
        return
    if row and isinstance(row, dict):
        raise AccordError(
            f"The file holds JSON rows ({', '.join(ascii(key)[1:-1] for key in list(row)[:4])}), "
            "but its name says plain text.",
            f"{name}:1",
            "rename it: ….jsonl; or, if the braces are the text, columns: [text]",
        )


def read_tsv(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Tab-separated cells, quotes taken literally; header line unless columns are named."""
    header = file.columns
    for line in file.lines():
        if line.fault:
            yield file.bad(line)
        elif header is None:
            header = _header(tuple(line.text.split("\t")), file.name)
        elif line.text.strip():
            where = f"{file.name}:{line.number}"
            yield _cells(header, line.text.split("\t"), where, "\t")


def read_csv(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Comma-separated cells, quoted as spreadsheets do; placed at the line where a row begins."""
    csv.field_size_limit(MAX_LINE)
    faults: list[Line] = []
    reader = csv.reader(_sound(file.lines(), faults), strict=True)
    header = file.columns
    first = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRow(f"{file.name}:{first}", f"not valid CSV: {error}", fix="mend the quotes")
            first = reader.line_num + 1
            continue
        for line in faults:
            yield file.bad(line)
        faulty = bool(faults)
        faults.clear()
        if cells is None:
            return
        where, first = f"{file.name}:{first}", reader.line_num + 1
        if header is None:
            header = _header(tuple(cells), file.name)
        elif cells and not faulty:
            yield _cells(header, cells, where, ",")


def read_parquet(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Rows of a Parquet file, numbered from 1."""
    import pyarrow as pa  # noqa: PLC0415 -- a slow import that text files do not need
    from pyarrow import parquet  # noqa: PLC0415

    try:
        batches = parquet.ParquetFile(pa.PythonFile(file.stream)).iter_batches(batch_size=256)
        yield from _numbered((row for batch in batches for row in _sound_rows(batch)), file.name)
    except (pa.ArrowException, *UNREADABLE) as error:
        raise damaged("Parquet", file.name, error) from None


def read_arrow(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Rows of an Arrow stream, as `datasets` saves them."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        batches = pa.ipc.open_stream(file.stream)
        yield from _numbered((row for batch in batches for row in _sound_rows(batch)), file.name)
    except (pa.ArrowException, *UNREADABLE) as error:
        raise damaged("Arrow", file.name, error) from None


Reader = Callable[[TextFile], Iterator[RawRow | BadRow]]

READERS: Mapping[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".txt": read_text,
    ".md": read_text,
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}

_UNREAD: Mapping[str, str] = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"), NO_PICKLE),
    **dict.fromkeys((".zip", ".zst", ".xz", ".bz2", ".7z", ".tar", ".tgz"), UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as .csv"),
}
"""Types that are known and not read, with the way out."""


def suffix_of(name: str) -> str:
    """The suffix that decides how a file is read, without `.gz`."""
    base = name.lower().removesuffix(".gz").rpartition("/")[2]
    return "." + base.rpartition(".")[2] if "." in base else ""


def read_stream(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Rows of one file by its suffix; named columns make a headerless table of any text file.

    Raises:
        AccordError: The suffix is unknown, or the file as a whole is damaged.
    """
    suffix = suffix_of(file.name)
    reader = READERS.get(suffix)
    if file.columns is not None:
        reader = read_csv if suffix == ".csv" else read_tsv
    if reader is None:
        hint = _UNREAD.get(suffix) or did_you_mean(suffix, READERS)
        raise AccordError(f"Unknown file type '{suffix}'.", file.name, hint)
    if file.name.lower().endswith(".gz"):
        unzipped: Any = gzip.GzipFile(fileobj=file.stream)
        file = TextFile(unzipped, file.name, file.encoding, file.columns)
    yield from reader(file)


def _header(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(set(names)) != len(names) or "" in names:
        shown = ", ".join(repr(n[:20]) for n in names[:6])
        raise AccordError(
            f"The header line does not name distinct columns: {shown}.",
            f"{name}:1",
            "a table without a header needs `columns: [a, b, …]`",
        )
    return names


def _cells(
    header: tuple[str, ...], cells: list[str], where: str, separator: str
) -> RawRow | BadRow:
    if len(cells) == len(header):
        return RawRow(dict(zip(header, cells, strict=True)), where)
    found = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
    why = f"{found}, expected {len(header)} ({', '.join(header)})"
    return BadRow(where, why, sample_of(separator.join(cells)), _SEPARATORS[separator])


def _sound(lines: Iterator[Line], faults: list[Line]) -> Iterator[str]:
    """Text of the lines; the faulty among them are set aside (their text still keeps count)."""
    for line in lines:
        if line.fault:
            faults.append(line)
        yield line.text + "\n"


def _sound_rows(batch: Any) -> list[dict[str, Any]]:
    """A batch's rows; offsets that point out of it are an `ArrowInvalid` before they are used."""
    batch.validate(full=True)
    return batch.to_pylist()


def _numbered(rows: Iterator[dict[str, Any]], name: str) -> Iterator[RawRow]:
    for number, row in enumerate(rows, 1):
        yield RawRow(row, f"{name}:{number}")
