"""Files of data that are damaged or made of nothing sensible, read for every kind of rows."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from battery.damage import damaged, drawn, value

KINDS = ("text", "chat", "prompt", "pair", "label")
SUFFIXES = (
    ".jsonl", ".ndjson", ".json", ".txt", ".md", ".tsv", ".csv", ".parquet", ".arrow",
    ".jsonl.gz", ".json.gz", ".csv.gz",
)  # fmt: skip
BINARY = (".parquet", ".arrow")

_USER, _SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "text": {"text": "A film that was a delight.", "lang": "en"},
    "prompt": {"prompt": "q", "answer": "3"},
    "completion": {"prompt": "q", "completion": "a"},
    "messages": {"messages": [_USER, _SAID]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "alpaca": {"instruction": "Say it", "input": "", "output": "a"},
    "pair": {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1.5},
    "turns": {"chosen": [_USER, _SAID], "rejected": [_USER, _SAID | {"content": "b"}]},
    "transcript": {
        "chosen": "\n\nHuman: q\n\nAssistant: a",
        "rejected": "\n\nHuman: q\n\nAssistant: b",
    },
    "label": {"prompt": "q", "completion": "a", "label": True},
}


def any_bytes(random: Random, folder: Path) -> str:
    """Bytes drawn at random under the name of any type of file."""
    suffix = random.choice(SUFFIXES)
    data = drawn(random)
    packed = gzip.compress(data) if _packs(suffix, random) else data
    return read(folder, suffix, packed, random.choice(KINDS), random)


def damaged_file(random: Random, folder: Path) -> str:
    """A whole file of any type and kind of rows with a few faults, before packing or after."""
    suffix = random.choice(SUFFIXES)
    row = random.choice(list(_ROWS.values()))
    kind = random.choice(KINDS) if random.random() < 0.3 else _kind(row)
    first = next(iter(row))
    rows = [{**row, "id": number} for number in range(random.randint(1, 4))]
    rows = [each | {first: _other(each[first], number)} for number, each in enumerate(rows)]
    data = written(suffix.removesuffix(".gz"), rows)
    if not suffix.endswith(".gz"):
        return read(folder, suffix, damaged(data, random), kind, random)
    if random.random() < 0.5:
        return read(folder, suffix, gzip.compress(damaged(data, random)), kind, random)
    return read(folder, suffix, damaged(gzip.compress(data), random), kind, random)


def any_cells(random: Random, folder: Path) -> str:
    """Rows with the columns of a known format and anything in them."""
    from accord.data.conventions import FORMATS

    form = random.choice(FORMATS)
    whole = [row for row in _ROWS.values() if set(form.needs) <= row.keys()]
    rows = [random.choice(whole)] if whole and random.random() < 0.5 else []
    for _ in range(random.randint(1, 3)):
        rows.append({column: value(random) for column in (*form.needs, *form.may)})
    suffix = random.choice((".jsonl", ".json"))
    kind = random.choice(KINDS) if random.random() < 0.3 else _kind(rows[0])
    return read(folder, suffix, written(suffix, rows), kind, random)


def written(suffix: str, rows: list[Any]) -> bytes:
    """Rows as a file of that type holds them."""
    if suffix in (".jsonl", ".ndjson"):
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".json":
        return json.dumps(rows, indent=1).encode()
    cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in rows]
    if suffix in (".txt", ".md"):
        return "\n\n".join("\n".join(row.values()) for row in cells).encode()
    if suffix in (".tsv", ".csv"):
        stream = io.StringIO()
        table = csv.writer(stream, delimiter="\t" if suffix == ".tsv" else ",")
        table.writerows([list(cells[0]), *(list(row.values()) for row in cells)])
        return stream.getvalue().encode()
    return _columns(suffix, rows)


def _columns(suffix: str, rows: list[Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    table, stream = pa.Table.from_pylist(rows), io.BytesIO()
    if suffix == ".parquet":
        parquet.write_table(table, stream)
    else:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def _kind(row: Mapping[str, Any]) -> str:
    """The kind of rows that columns are most likely meant as."""
    if "rejected" in row:
        return "pair"
    if "label" in row:
        return "label"
    return "text" if "text" in row else "prompt" if len(row.keys() & {"prompt"}) else "chat"


def _other(cell: Any, number: int) -> Any:
    """A cell that differs from row to row, so that rows are no duplicates."""
    return f"{cell} {number}" if isinstance(cell, str) else cell


def read(folder: Path, suffix: str, data: bytes, kind: str, random: Random) -> str:
    """The law of reading, on one file: `accepted` or `refused`.

    Raises:
        Exception: The law is broken.
    """
    from accord.config.data import HeldoutConfig, SourceConfig
    from accord.data.account import Account
    from accord.data.load import load_rows
    from accord.errors import AccordError

    name, account = f"a{suffix}", Account()
    skip = random.random() < 0.4
    (folder / name).write_bytes(data)
    source = SourceConfig(source=name, on_bad_row="skip" if skip else "error")
    rejects = folder / "rejects.jsonl"
    rejects.unlink(missing_ok=True)
    heldout = HeldoutConfig(fraction=random.choice((0.0, 0.0, 0.5)))
    try:
        loaded = load_rows([source], heldout, kind, 1, account, folder, folder, rejects)
    except AccordError as error:
        check_place(error, name, BINARY)
        return "refused"
    there = rows_in(suffix, data)
    read_ = account.read(name)
    assert there is None or read_ == there, f"{read_} rows in the account, {there} in the file"
    kept = account.sources[name].kept
    assert kept == len(loaded.train) + len(loaded.heldout), "kept rows are not those given"
    bad = account.sources[name].dropped["bad row"]
    told = len(rejects.read_text().splitlines()) if rejects.exists() else 0
    assert bad == told, f"{bad} bad rows, {told} in the rejects file"
    return "accepted"


def check_place(error: Any, name: str, binary: tuple[str, ...]) -> None:
    """Assert that a message names the file it is about, and a bad row's line."""
    str(error).encode()
    assert error.what, "an empty message"
    assert error.where.startswith(name), f"its place is {error.where!r}"
    about_row = "\n  row:" in error.what
    assert not about_row or error.where[len(name) :].startswith(":"), "a row without its line"


def rows_in(suffix: str, data: bytes) -> int | None:
    """How many rows a file that was accepted holds, counted in another way than by reading it."""
    if suffix.endswith(".gz"):
        data = gzip.decompress(data)
    counter = _COUNTERS.get(suffix.removesuffix(".gz"))
    return None if counter is None else counter(data)


def _lines(data: bytes) -> int:
    return sum(bool(line.decode("utf-8-sig", "replace").strip()) for line in data.split(b"\n"))


def _array(data: bytes) -> int:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except ValueError:
        return _lines(data)
    return len(value) if isinstance(value, list) else _lines(data)


def _documents(data: bytes) -> int:
    lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    return sum(bool(line) and (i == 0 or not lines[i - 1]) for i, line in enumerate(lines))


def _parquet(data: bytes) -> int:
    from pyarrow import parquet

    return parquet.read_table(io.BytesIO(data)).num_rows


def _arrow(data: bytes) -> int:
    import pyarrow as pa

    return sum(batch.num_rows for batch in pa.ipc.open_stream(data))


def _table(data: bytes, separator: str) -> int:
    text = data.decode("utf-8-sig").split("\n")
    if separator == "\t":
        return _lines(data) - 1
    rows = csv.reader(line.rstrip("\r") + "\n" for line in text)
    return sum(bool(cells) for cells in rows) - 1


_COUNTERS: Mapping[str, Callable[[bytes], int]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _array,
    ".txt": _documents,
    ".md": _documents,
    ".tsv": partial(_table, separator="\t"),
    ".csv": partial(_table, separator=","),
    ".parquet": _parquet,
    ".arrow": _arrow,
}


def _packs(suffix: str, random: Random) -> bool:
    return suffix.endswith(".gz") and random.random() < 0.7
