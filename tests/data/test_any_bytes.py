"""The law of reading: any bytes give rows, or one error that names their place."""

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.conventions import FORMATS
from accord.data.load import load_rows
from accord.errors import AccordError

ROWS = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": "r", "chosen": "a", "rejected": "b"},
]


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


SUFFIXES = (
    ".jsonl",
    ".json",
    ".txt",
    ".tsv",
    ".csv",
    ".parquet",
    ".arrow",
    ".jsonl.gz",
    ".json.gz",
)
WHOLE = (
    lines(*ROWS),
    json.dumps(ROWS, indent=1).encode(),
    b"prompt\tcompletion\nq\ta\n",
    b'prompt,completion\n"q\n1",a\n',
    table(ROWS),
    gzip.compress(lines(*ROWS)),
)


def accepted_or_refused(folder: Path, name: str, data: bytes, kind: str) -> None:
    """The law: rows, or one error that names the file."""
    (folder / name).write_bytes(data)
    try:
        source = SourceConfig(source=name)
        load_rows([source], HeldoutConfig(fraction=0), kind, 1, Account(), folder, folder)
    except AccordError as error:
        assert error.where.startswith(name)
        str(error).encode()


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_give_rows_or_an_error_with_its_place(tmp_path_factory, suffix, data) -> None:
    accepted_or_refused(tmp_path_factory.getbasetemp(), f"a{suffix}", data, "text")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(SUFFIXES), st.sampled_from(WHOLE), st.data())
def test_damage_to_a_whole_file_is_seen_or_harmless(tmp_path_factory, suffix, whole, data) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.binary(max_size=2))
    damaged = whole[:at] + byte + whole[at + data.draw(st.integers(0, 3)) :]
    accepted_or_refused(tmp_path_factory.getbasetemp(), f"a{suffix}", damaged, "pair")


CELLS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.just("\ud83d"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "type"]), inner)
        | st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "x", 1, [], None]), "content": inner}
            ),
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([form.needs + form.may for form in FORMATS]),
    st.lists(CELLS, min_size=6, max_size=6),
    st.sampled_from(["text", "chat", "prompt", "pair", "label"]),
)
def test_any_cells_give_a_row_or_an_error_with_its_place(
    tmp_path_factory, columns, cells, kind
) -> None:
    row = lines(dict(zip(columns, cells, strict=False)))
    accepted_or_refused(tmp_path_factory.getbasetemp(), "a.jsonl", row, kind)
