"""Bytes to mappings: one generator a file type, each row with its place, each fault with its line.

A fault of one row is yielded as a `BadRow`, so that the caller can stop, skip or list them all;
what is wrong with a file as a whole (cut off, not that type at all) is raised.
"""

import codecs
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accord.data.rawfile import MAX_LINE, SAMPLE, BadRow, Line, RawRow, TextFile, damaged
from accord.errors import AccordError, did_you_mean


def read_jsonl(file: TextFile) -> Iterator[RawRow | BadRow]:
    """One JSON object a line; blank lines are passed over."""
    for line in file.lines():
        if line.fault:
            yield file.bad(line)
        elif line.text.strip():
            yield _json_row(line, f"{file.name}:{line.number}")


def read_json(file: TextFile) -> Iterator[RawRow | BadRow]:
    """An array of objects (`where` counts them from 1); a file of JSON lines is accepted too."""
    start = file.stream.read(64).lstrip(codecs.BOM_UTF8).lstrip()
    file.stream.seek(0)
    if not start.startswith(b"["):
        yield from read_jsonl(file)
        return
    try:
        rows = json.loads(file.stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AccordError(f"The file is not UTF-8: {error.reason}.", file.name) from None
    except json.JSONDecodeError as error:
        raise AccordError(
            f"Not valid JSON: {error.msg}.",
            f"{file.name}:{error.lineno}",
            "mend the file, or write one object a line (.jsonl)",
        ) from None
    except (ValueError, RecursionError) as error:
        raise AccordError(f"Not valid JSON: {error}.", file.name) from None
    for number, row in enumerate(rows, 1):
        where = f"{file.name}:{number}"
        yield RawRow(row, where) if isinstance(row, dict) else _no_object(row, where)


def read_text(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Documents separated by blank lines, each a `text` row placed at its first line."""
    document: list[str] = []
    first = 1
    for line in file.lines():
        if line.fault:
            yield file.bad(line)
        elif line.text.strip():
            first = first if document else line.number
            document.append(line.text)
        elif document:
            yield RawRow({"text": "\n".join(document)}, f"{file.name}:{first}")
            document = []
    if document:
        yield RawRow({"text": "\n".join(document)}, f"{file.name}:{first}")


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
            yield _cells(header, line.text.split("\t"), where, line.text)


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
            yield _cells(header, cells, where, ",".join(cells))


def read_parquet(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Rows of a Parquet file, numbered from 1."""
    import pyarrow as pa  # noqa: PLC0415 -- a slow import that text files do not need
    from pyarrow import parquet  # noqa: PLC0415

    try:
        batches = parquet.ParquetFile(pa.PythonFile(file.stream)).iter_batches(batch_size=256)
        yield from _numbered((row for batch in batches for row in batch.to_pylist()), file.name)
    except (pa.ArrowException, OSError) as error:
        raise damaged("Parquet", file.name, error) from None


def read_arrow(file: TextFile) -> Iterator[RawRow | BadRow]:
    """Rows of an Arrow stream, as `datasets` saves them."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        batches = pa.ipc.open_stream(file.stream)
        yield from _numbered((row for batch in batches for row in batch.to_pylist()), file.name)
    except (pa.ArrowException, OSError) as error:
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
        hint = did_you_mean(suffix, READERS)
        raise AccordError(f"Unknown file type '{suffix}'.", file.name, hint)
    if file.name.lower().endswith(".gz"):
        unzipped: Any = gzip.GzipFile(fileobj=file.stream)
        file = TextFile(unzipped, file.name, file.encoding, file.columns)
    yield from reader(file)


def _json_row(line: Line, where: str) -> RawRow | BadRow:
    try:
        row = json.loads(line.text)
    except json.JSONDecodeError as error:
        cut = not line.ended or error.pos >= len(line.text.rstrip())
        why = f"not valid JSON: {error.msg} at column {error.colno}"
        if cut:
            why = f"the line is cut off in the middle of a value ({error.msg})"
        return BadRow(where, why, line.text[:SAMPLE])
    except (ValueError, RecursionError) as error:
        return BadRow(where, f"not valid JSON: {error}", line.text[:SAMPLE])
    return RawRow(row, where) if isinstance(row, dict) else _no_object(row, where)


def _no_object(value: Any, where: str) -> BadRow:
    why = f"the row is a {type(value).__name__}, not an object with named columns"
    return BadRow(where, why, repr(value)[:SAMPLE], 'write {"text": …}')


def _header(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    if len(set(names)) != len(names) or "" in names:
        shown = ", ".join(repr(n[:20]) for n in names[:6])
        raise AccordError(
            f"The header line does not name distinct columns: {shown}.",
            f"{name}:1",
            "a table without a header needs `columns: [a, b, …]`",
        )
    return names


def _cells(header: tuple[str, ...], cells: list[str], where: str, line: str) -> RawRow | BadRow:
    if len(cells) == len(header):
        return RawRow(dict(zip(header, cells, strict=True)), where)
    why = f"{len(cells)} columns, expected {len(header)} ({', '.join(header)})"
    return BadRow(where, why, line[:SAMPLE])


def _sound(lines: Iterator[Line], faults: list[Line]) -> Iterator[str]:
    """Text of the lines; the faulty among them are set aside (their text still keeps count)."""
    for line in lines:
        if line.fault:
            faults.append(line)
        yield line.text + "\n"


def _numbered(rows: Iterator[dict[str, Any]], name: str) -> Iterator[RawRow]:
    for number, row in enumerate(rows, 1):
        yield RawRow(row, f"{name}:{number}")
