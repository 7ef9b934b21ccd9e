"""JSON to rows: one object a line, or one array, with the place of what is wrong."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from accord.data.cells import kind_of
from accord.data.rawfile import (
    ENCODING,
    UNPACKED,
    BadRow,
    Line,
    RawRow,
    TextFile,
    damaged,
    line_codec,
    sample_of,
)
from accord.errors import AccordError

MAX_ARRAY = 2**30
"""Bytes of an array, which is read whole; more of a packed file is a bomb."""
IN_JSON = "a JSON array belongs in a .json file: rename it, or write one object a line"


def read_jsonl(file: TextFile) -> Iterator[RawRow | BadRow]:
    """One JSON object a line; blank lines are passed over."""
    for line in file.lines():
        if line.fault:
            yield file.bad(line)
        elif line.text.strip():
            yield _json_row(line, f"{file.name}:{line.number}")


def read_json(file: TextFile) -> Iterator[RawRow | BadRow]:
    """An array of objects (`where` counts them from 1); a file of JSON lines is accepted too."""
    if _is_spread(file):
        yield from _array(file)
    else:
        yield from read_jsonl(file)


def _is_spread(file: TextFile) -> bool:
    """Whether the file is an array, or begins one object of many lines; reads on from the start."""
    try:
        start = file.stream.read(64).lstrip(codecs.BOM_UTF8).lstrip()
        file.stream.seek(0)
    except UNPACKED as error:
        raise damaged("gzip", file.name, error) from None
    if not start.startswith(b"{"):
        return start.startswith(b"[")
    first = next((line.text.strip() for line in file.lines() if line.text.strip()), "{}")
    file.stream.seek(0)
    return first[-1] in "{[,:"


def _array(file: TextFile) -> Iterator[RawRow | BadRow]:
    name = file.name
    codec = line_codec(file.encoding, name)
    try:
        data = file.stream.read(MAX_ARRAY + 1).removeprefix(codecs.BOM_UTF8)
    except UNPACKED as error:
        raise damaged("gzip", name, error) from None
    if len(data) > MAX_ARRAY:
        what = f"The array is longer than {MAX_ARRAY // 2**20} MB."
        raise AccordError(what, name, "write one object a line (.jsonl), which is read bit by bit")
    try:
        rows = json.loads(data.decode(codec), object_pairs_hook=distinct)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"The file is not {file.encoding}: byte 0x{data[error.start]:02x}."
        raise AccordError(what, f"{name}:{line}", ENCODING) from None
    except json.JSONDecodeError as error:
        raise AccordError(
            f"Not valid JSON: {error.msg}.",
            f"{name}:{error.lineno}",
            f"{_json_fix(error, 'mend the file')}, or write one object a line (.jsonl)",
        ) from None
    except (ValueError, RecursionError) as error:
        raise AccordError(f"Not valid JSON: {error}.", name, "mend the file") from None
    if isinstance(rows, dict):
        inside = [key for key, value in rows.items() if value and isinstance(value, list)]
        hint = f": take the list out of '{inside[0]}'" if inside else ""
        raise AccordError(
            "The file is one JSON object, not an array of rows.",
            name,
            f"write [{{…}}, {{…}}], or one object a line (.jsonl){hint}",
        )
    for number, row in enumerate(rows, 1):
        where = f"{name}:{number}"
        yield RawRow(row, where) if isinstance(row, dict) else _no_object(row, where)


def _json_row(line: Line, where: str) -> RawRow | BadRow:
    try:
        row = json.loads(line.text, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        why = f"not valid JSON: {error.msg} at column {error.colno}"
        if not line.ended or error.pos >= len(line.text.rstrip()):
            why = f"the line is cut off in the middle of a value ({error.msg})"
        fix = IN_JSON if line.text.strip() == "[" else _json_fix(error, "mend the row")
        return BadRow(where, why, sample_of(line.text, error.pos), fix)
    except (ValueError, RecursionError) as error:
        return BadRow(where, f"not valid JSON: {error}", sample_of(line.text))
    return RawRow(row, where) if isinstance(row, dict) else _no_object(row, where)


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values.

    Raises:
        ValueError: A key stands twice, so that one of its values would be lost.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a} stands twice in one object")
    return made


def _json_fix(error: json.JSONDecodeError, otherwise: str) -> str:
    """What most likely mends it."""
    before, at = error.doc[: error.pos].rstrip(), error.doc[error.pos : error.pos + 1]
    if before.endswith(",") and at in ("}", "]"):
        return f"take away the comma before the {at}"
    if at == "'":
        return "JSON has double quotes only: write rows with json.dumps"
    return otherwise


def _no_object(value: Any, where: str) -> BadRow:
    why = f"the row is {kind_of(value)}, not an object with named columns"
    fix = IN_JSON if isinstance(value, list) else 'write {"text": …}'
    return BadRow(where, why, sample_of(json.dumps(value, ensure_ascii=False)), fix)
