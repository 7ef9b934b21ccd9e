"""Sources: each file type read, each fault named with its file and line."""

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from accord.config.data import SourceConfig
from accord.data import rawfile
from accord.data.rawfile import BadRow, FilteredRow, RawRow
from accord.data.sources import read
from accord.errors import AccordError

TWO = [{"text": "one"}, {"text": "two"}]


def items(folder: Path, name: str, data: bytes | None = None, **settings):
    if data is not None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return list(read(SourceConfig(source=name, **settings), folder / "cache", folder))


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(TWO), path)


def as_arrow(path: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(TWO)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "data", "lines"),
    [
        ("a.jsonl", jsonl(TWO), (1, 2)),
        ("a.jsonl", b"\xef\xbb\xbf" + jsonl(TWO), (1, 2)),
        ("a.jsonl", b'{"text": "one"}\r\n\r\n{"text": "two"}', (1, 3)),
        ("a.jsonl.gz", gzip.compress(jsonl(TWO), mtime=0), (1, 2)),
        ("a.json", json.dumps(TWO, indent=1).encode(), (1, 2)),
        ("a.json", jsonl(TWO), (1, 2)),
        ("a.txt", b"\none\n\n\ntwo\n", (2, 5)),
        ("a.tsv", b"text\none\ntwo\n", (2, 3)),
        ("a.csv", b'text\n"one"\n"two"\n', (2, 3)),
    ],
)
def test_each_text_type_gives_the_same_rows_with_their_lines(tmp_path, name, data, lines) -> None:
    assert items(tmp_path, name, data) == [
        RawRow(row, f"{name}:{line}") for row, line in zip(TWO, lines, strict=True)
    ]


@pytest.mark.parametrize(("name", "write"), [("a.parquet", as_parquet), ("a.arrow", as_arrow)])
def test_tables_of_columns(tmp_path, name, write) -> None:
    write(tmp_path / name)
    assert items(tmp_path, name) == [RawRow(TWO[0], f"{name}:1"), RawRow(TWO[1], f"{name}:2")]


def test_a_document_keeps_its_line_breaks(tmp_path) -> None:
    (row,) = items(tmp_path, "a.txt", b"one\n  two\n")
    assert row.mapping == {"text": "one\n  two"}


def test_csv_cells_may_hold_lines_and_rows_keep_their_first(tmp_path) -> None:
    found = items(tmp_path, "a.csv", b'a,b\n"x\ny",1\nz,2\n')
    assert [(r.mapping["a"], r.where) for r in found] == [("x\ny", "a.csv:2"), ("z", "a.csv:4")]


def test_a_table_without_header_takes_named_columns_and_literal_quotes(tmp_path) -> None:
    found = items(tmp_path, "a.txt", b'1\t"so\n2\tgood"\n', columns=("id", "text"))
    assert [r.mapping for r in found] == [{"id": "1", "text": '"so'}, {"id": "2", "text": 'good"'}]


def test_another_encoding_can_be_named(tmp_path) -> None:
    (row,) = items(tmp_path, "a.txt", "café".encode("cp1252"), encoding="cp1252")
    assert row.mapping == {"text": "café"}


MALFORMED = [
    ("a.jsonl", b'{"text": "on', "a.jsonl:1", "cut off in the middle of a value"),
    ("a.jsonl", b'{"text" "one"}\n', "a.jsonl:1", "not valid JSON: Expecting ':' delimiter"),
    ("a.jsonl", b'{"text": "caf\xe9"}\n', "a.jsonl:1", "not utf-8: byte 0xe9 at position 14"),
    ("a.jsonl", b'["one"]\n', "a.jsonl:1", "the row is a list, not an object"),
    ("a.jsonl", b"[" * 200_000 + b"\n", "a.jsonl:1", "not valid JSON"),
    ("a.jsonl", b'{"n": ' + b"9" * 5000 + b"}\n", "a.jsonl:1", "not valid JSON: Exceeds the limit"),
    ("a.json", b'[{"text": "one"}, 3]', "a.json:2", "the row is a number (3), not an object"),
    ("a.tsv", b"a\tb\n1\t2\n3\n", "a.tsv:3", "1 cell, expected 2 (a, b)"),
    ("a.csv", b"a,b\n1,2,3\n", "a.csv:2", "3 cells, expected 2 (a, b)"),
    ("a.csv", b'a\n"x"y\n', "a.csv:2", "not valid CSV"),
    ("a.csv", b"a\n\xff\n", "a.csv:2", "not utf-8: byte 0xff at position 1"),
    ("a.txt", b"one\n\xfftwo\n", "a.txt:2", "not utf-8"),
]


@pytest.mark.parametrize(("name", "data", "where", "why"), MALFORMED)
def test_a_bad_row_is_named_and_the_sound_ones_still_read(tmp_path, name, data, where, why) -> None:
    bad = [item for item in items(tmp_path, name, data) if isinstance(item, BadRow)]
    assert [row.where for row in bad] == [where]
    assert why in bad[0].why
    message = str(bad[0].error())
    assert where in message
    assert why in message
    assert "on_bad_row: skip" in message


def test_a_bad_row_does_not_hide_those_after_it(tmp_path) -> None:
    found = items(tmp_path, "a.jsonl", b'{"text": "one"}\n{oops\n\xff\n{"text": "two"}\n')
    assert [type(item) for item in found] == [RawRow, BadRow, BadRow, RawRow]
    assert found[-1].where == "a.jsonl:4"


def test_an_endless_line_is_refused_by_its_limit_and_passed_over(tmp_path) -> None:
    long = b'{"text": "' + b"x" * 50 * 2**20 + b'"}\n'
    found = items(tmp_path, "a.jsonl", long + b'{"text": "two"}\n')
    assert found[0].why == "line is longer than 32 MB"
    assert f"limit {rawfile.MAX_LINE} bytes" in found[0].fix
    assert found[1] == RawRow({"text": "two"}, "a.jsonl:2")


BROKEN = [
    ("a.jsonl", b"", "The source holds no rows.", "a.jsonl"),
    ("a.jsonl", b"\n\n", "The source holds no rows.", "a.jsonl"),
    ("a.jsonl.gz", gzip.compress(jsonl(TWO), mtime=0)[:-9], "Not a whole gzip file", "a.jsonl.gz"),
    ("a.jsonl.gz", b"plain", "not packed with gzip, though its name ends in .gz", "off its name"),
    ("a.json", b'[{"text": "one"},\n {"te', "Not valid JSON", "a.json:2"),
    ("a.json", b'["\xff"]', "The file is not utf-8", "a.json"),
    ("a.parquet", b"PAR1 no", "Not a whole Parquet file", "a.parquet"),
    ("a.arrow", b"no arrow", "Not a whole Arrow file", "a.arrow"),
    ("a.jsonl", "é".encode("utf-16"), "The file is UTF-16.", "iconv"),
    ("a.tsv", b"a\ta\n1\t2\n", "does not name distinct columns: 'a', 'a'", "columns: [a, b, …]"),
    ("a.jsnl", b"{}", "Unknown file type '.jsnl'.", "did you mean '.jsonl'?"),
]


@pytest.mark.parametrize(("name", "data", "what", "hint"), BROKEN)
def test_a_broken_file_stops_with_its_name(tmp_path, name, data, what, hint) -> None:
    with pytest.raises(AccordError) as caught:
        items(tmp_path, name, data)
    assert what in caught.value.what
    assert hint in str(caught.value)


def test_unknown_encoding(tmp_path) -> None:
    with pytest.raises(AccordError, match=r"did you mean 'utf-8'\?"):
        items(tmp_path, "a.txt", b"x", encoding="uft-8")
    with pytest.raises(AccordError, match="Lines cannot be found in utf-16"):
        items(tmp_path, "a.txt", b"x", encoding="utf-16")


def test_a_missing_file_names_the_one_beside_it(tmp_path) -> None:
    (tmp_path / "train.jsonl").write_bytes(jsonl(TWO))
    with pytest.raises(AccordError, match=r"did you mean 'train.jsonl'\?"):
        items(tmp_path, "trian.jsonl")
    with pytest.raises(AccordError, match="the folder 'no/where' does not exist either"):
        items(tmp_path, "no/where/a.jsonl")
    with pytest.raises(AccordError, match="is written hub:owner/name"):
        items(tmp_path, "owner/name")
    with pytest.raises(AccordError, match=r"it holds: train\.jsonl"):
        items(tmp_path, "zzz")


def test_a_folder_is_all_its_known_files_in_order(tmp_path) -> None:
    for name in ("d/b.jsonl", "d/a/z.jsonl", "d/.hidden.jsonl", "d/_x/y.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jsonl([{"text": name}]))
    (tmp_path / "d/dataset_info.json").write_text("{}")
    (tmp_path / "d/picture.png").write_bytes(b"\x89PNG")
    assert [row.where for row in items(tmp_path, "d")] == ["d/a/z.jsonl:1", "d/b.jsonl:1"]


def test_a_folder_of_splits_is_refused_and_an_unreadable_one_too(tmp_path) -> None:
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "data.jsonl").write_bytes(jsonl(TWO))
    with pytest.raises(AccordError, match=r"several splits \(test, train\)"):
        items(tmp_path, "d")
    assert len(items(tmp_path, "d/train")) == 2
    (tmp_path / "e").mkdir()
    with pytest.raises(AccordError, match="no file that can be read"):
        items(tmp_path, "e")


NESTED = [{"input": [{"content": "no"}, {"content": "yes"}], "a.b": 1}]


def test_fields_take_nested_values_and_rename(tmp_path) -> None:
    fields = {"text": "input.1.content", "score": "a.b"}
    (row,) = items(tmp_path, "a.jsonl", jsonl(NESTED), fields=fields)
    assert row.mapping == {"text": "yes", "score": 1, "input": NESTED[0]["input"]}


def test_an_unknown_field_is_named_with_the_nearest(tmp_path) -> None:
    for path, hint in [("inptu", "'input'"), ("input.1.contents", "'content'"), ("input.7", "")]:
        (row,) = items(tmp_path, "a.jsonl", jsonl(NESTED), fields={"text": path})
        assert row.why == f"the row has no field '{path}'"
        assert hint in row.fix


def test_match_and_extract_leave_rows_out_and_say_so(tmp_path) -> None:
    rows = [{"text": "en: hello | x"}, {"text": "de: hallo | x"}, {"text": "en: none"}]
    found = items(
        tmp_path,
        "a.jsonl",
        jsonl(rows),
        match={"text": "^en"},
        extract={"text": r"^(.*) \|"},
    )
    assert found == [
        RawRow({"text": "en: hello"}, "a.jsonl:1"),
        FilteredRow("a.jsonl:2", "match.text does not match"),
        FilteredRow("a.jsonl:3", "extract.text finds nothing"),
    ]
    with pytest.raises(AccordError, match=r"Not a regular expression.*\n.*match.text"):
        items(tmp_path, "a.jsonl", match={"text": "("})


def test_hub_rows_come_through_datasets(tmp_path, monkeypatch) -> None:
    asked = []

    def load_dataset(path, name, split):
        asked.append((path, name, split))
        return TWO

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert items(tmp_path, "hub:o/n:test")[1] == RawRow(TWO[1], "hub:o/n:test:2")
    items(tmp_path, "hub:o/n/sub")
    assert asked == [("o/n", None, "test"), ("o/n", "sub", "train")]


def test_hub_faults_have_a_remedy(tmp_path, monkeypatch) -> None:
    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'o/n' on the Hub\ntrace")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(
        AccordError, match=r"cannot be loaded: Couldn't reach 'o/n' on the Hub\."
    ) as e:
        items(tmp_path, "hub:o/n")
    assert "give the folder" in e.value.fix
    with pytest.raises(AccordError, match="names no data set"):
        items(tmp_path, "hub:justaname")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(AccordError, match="pip install datasets"):
        items(tmp_path, "hub:o/n")
