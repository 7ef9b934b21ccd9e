"""Files as users really hand them over; what each gives stands in `malformed.md`."""

import gzip
import io
import json
import pickle
import re
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest
from pyarrow import parquet

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import load_rows
from accord.data.rows import Row
from accord.errors import AccordError

GIVES = Path(__file__).with_name("malformed.md")

PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
SECOND = {"prompt": "r", "chosen": "a", "rejected": "b"}
USER = {"role": "user", "content": "q"}
YES = {"role": "assistant", "content": "a"}
NO = {"role": "assistant", "content": "b"}
SIDES = {"chosen": [USER, YES], "rejected": [USER, NO]}


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


LABELLED = lines({"messages": [USER, YES], "label": 1})


def table(*rows) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def file(name: str, data: bytes | dict[str, bytes], **told):
    """A file, or files by path, and what `outcome` is told about them."""
    return name, data, told


def expected() -> dict[str, str]:
    """What each file gives, by its title."""
    parts = re.split(r"^## (.+)\n", GIVES.read_text(encoding="utf-8"), flags=re.MULTILINE)
    bodies = (re.sub(r"^# .*", "", body, flags=re.MULTILINE) for body in parts[2::2])
    return dict(zip(parts[1::2], (dedent(body).strip("\n") for body in bodies), strict=True))


def outcome(folder: Path, name: str, data, kind="pair", **given) -> str:
    """The message that loading ends with, or the rows and what was dropped, a line each."""
    for path, content in data.items() if isinstance(data, dict) else [(name, data)]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    account = Account()
    source = SourceConfig(source=name, **given)
    try:
        loaded = load_rows([source], HeldoutConfig(fraction=0), kind, 1, account, folder, folder)
    except AccordError as error:
        return str(error)
    entry = account.to_json()[name]
    dropped = [f"dropped: {count} ({why})" for why, count in entry["dropped"].items()]
    return "\n".join([f"{row.where} {said(row)}" for row in loaded.train] + dropped)


def said(row: Row) -> str:
    """A row in a line: turns by the speaker's first letter, sides after an arrow."""
    parts = {
        name: " ".join(f"{role[0]}:{text[:20]!a}" for role, text in value)
        if isinstance(value, list)
        else f"{name}={value!a:.40}"
        for name, value in row.content().items()
    }
    return " -> ".join(part for part in parts.values() if part)


FILES = {
    # JSON that is none
    "not JSON on line 2": file("a.jsonl", lines(PAIR) + b'{"prompt": "q" "chosen": "a"}\n'),
    "cut off in the last line": file("a.jsonl", lines(PAIR) + b'{"prompt": "q", "chos'),
    "a comma too many": file("a.jsonl", b'{"text": "x",}\n', kind="text"),
    "Python's quotes": file("a.jsonl", b"{'text': 'x'}\n", kind="text"),
    "a key twice": file("a.jsonl", b'{"text": "x", "text": "y"}\n', kind="text"),
    "a fault far into the line": file(
        "a.jsonl", b'{"text": "' + b"x" * 200 + b'" "more": 1}\n', kind="text"
    ),
    "deeper than any row": file("a.jsonl", b"[" * 100_000 + b"\n"),
    "an array in a file of lines": file("a.jsonl", json.dumps([PAIR, SECOND]).encode()),
    "an array over lines in a file of lines": file(
        "a.jsonl", json.dumps([PAIR], indent=1).encode()
    ),
    "lines in a file for an array": file("a.json", lines(PAIR, SECOND)),
    "an array in its own file": file("a.json", json.dumps([PAIR, SECOND], indent=1).encode()),
    "a comma behind the last row": file(
        "a.json", b'[{"text": "x"},\n {"text": "y"},\n]\n', kind="text"
    ),
    "an object around the rows": file("a.json", json.dumps({"data": [PAIR]}, indent=1).encode()),
    "an object around the rows on one line": file("a.json", json.dumps({"data": [PAIR]}).encode()),
    "a string for a row": file("a.jsonl", b'"just a string"\n'),
    "a number among the rows": file("a.json", b'[{"text": "one"}, 3]', kind="text"),
    "a row without columns": file("a.jsonl", b"{}\n"),
    # bytes that are no text
    "UTF-16": file("a.jsonl", '{"text": "x"}\n'.encode("utf-16"), kind="text"),
    "UTF-16 without a mark": file("a.jsonl", '{"text": "x"}\n'.encode("utf-16-le"), kind="text"),
    "Latin-1": file("a.jsonl", '{"text": "café"}\n'.encode("latin-1"), kind="text"),
    "Latin-1 in an array": file(
        "a.json", '[{"text": "one"},\n {"text": "café"}]\n'.encode("latin-1"), kind="text"
    ),
    "Latin-1 by name": file(
        "a.jsonl", '{"text": "café"}\n'.encode("latin-1"), kind="text", encoding="latin-1"
    ),
    "a byte-order mark": file("a.jsonl", b"\xef\xbb\xbf" + lines(PAIR)),
    "Windows line ends and a blank line": file(
        "a.jsonl", lines(PAIR).replace(b"\n", b"\r\n\r\n") + lines(SECOND)
    ),
    "NUL bytes": file("a.txt", b"one\n\ntw\0o\n", kind="text"),
    "an escaped NUL is a character": file("a.jsonl", b'{"text": "a\\u0000b"}\n', kind="text"),
    "half of a surrogate pair": file("a.jsonl", b'{"text": "\\ud83d"}\n', kind="text"),
    "half of a surrogate pair as a column": file("a.jsonl", b'{"\\ud83d": "x"}\n', kind="text"),
    "a line of 10 MB": file("a.jsonl", b'{"text": "' + b"x" * 10 * 2**20 + b'"}\n', kind="text"),
    "a line of 33 MB": file("a.jsonl", b'{"text": "' + b"x" * 33 * 2**20 + b'"}\n', kind="text"),
    # files that are something else, or nothing
    "an empty file": file("a.jsonl", b""),
    "blank lines only": file("a.jsonl", b"\n \n\n"),
    "a header line only": file("a.csv", b"prompt,chosen,rejected\n"),
    "a misspelt suffix": file("a.jsnl", lines(PAIR)),
    "a gzip file that is none": file("a.jsonl.gz", lines(PAIR)),
    "a gzip array that is none": file("a.json.gz", b"[1]"),
    "a gzip file cut off": file("a.jsonl.gz", gzip.compress(lines(PAIR))[:-9]),
    "a gzip file without the suffix": file("a.jsonl", gzip.compress(lines(PAIR))),
    "a Parquet file that is none": file("a.parquet", lines(PAIR)),
    "a Parquet file named otherwise": file("a.jsonl", table(PAIR)),
    "a Parquet file cut off": file("a.parquet", table(PAIR)[:-20]),
    "a Parquet file without a column": file("a.parquet", table({"prompt": "q", "chosen": "a"})),
    "a Parquet file with a null": file(
        "a.parquet", table(PAIR, {"prompt": "q", "chosen": None, "rejected": "b"})
    ),
    "an Arrow file that is none": file("a.arrow", b"no arrow"),
    "a pickle": file("a.pkl", pickle.dumps([PAIR])),
    "a pickle named otherwise": file("a.jsonl", pickle.dumps([PAIR])),
    "another packer": file("a.jsonl.zst", b"\x28\xb5\x2f\xfd"),
    "a sheet": file("a.xlsx", b"PK\x03\x04"),
    "JSON rows in a text file": file("a.txt", lines(PAIR), kind="text"),
    "a folder of splits": file("d", {"d/train.jsonl": lines(PAIR), "d/test.jsonl": lines(SECOND)}),
    "a folder without data": file("d", {"d/readme.pdf": b"x"}),
    "a file that is not there": file("b.jsonl", {"a.jsonl": lines(PAIR)}),
    # tables
    "a table without a header": file("a.csv", b"What is it?,A cat,A dog\nWho?,Me,You\n"),
    "a header that names a column twice": file("a.csv", b"prompt,prompt\nq,a\n"),
    "too few cells": file("a.tsv", b"prompt\tcompletion\nq\ta\nq\n", kind="chat"),
    "too many cells": file("a.csv", b"prompt,completion\nq,a,b\n", kind="chat"),
    "an open quote": file("a.csv", b'prompt,completion\nq,"a\n', kind="chat"),
    "a table of labels": file("a.csv", b"prompt,completion,label\nq,a,True\nq,b,0\n", kind="label"),
    "turns as JSON in a cell": file(
        "a.tsv", b"messages\n" + json.dumps([USER, YES]).encode() + b"\n", kind="chat"
    ),
    "turns as Python prints them": file(
        "a.tsv", b"messages\n[{'role': 'user', 'content': 'q'}]\n", kind="chat"
    ),
    # cells and columns
    "a number for a string": file("a.jsonl", lines({"prompt": "q", "completion": 3}), kind="chat"),
    "a null completion": file("a.jsonl", lines({"prompt": "q", "completion": None}), kind="chat"),
    "an empty prompt": file("a.jsonl", lines(PAIR | {"prompt": ""})),
    "an empty response": file("a.jsonl", lines(PAIR | {"rejected": " "})),
    "chosen is rejected": file("a.jsonl", lines(PAIR, SECOND | {"rejected": "a"})),
    "the same pair twice": file("a.jsonl", lines(PAIR, PAIR)),
    "a column missing on line 3": file(
        "a.jsonl", lines(PAIR, SECOND, {"prompt": "q", "chosen": "a"})
    ),
    "a misspelt column": file("a.jsonl", lines({"prompt": "q", "choosen": "a", "rejected": "b"})),
    "a misspelt column on line 2": file(
        "a.jsonl", lines(PAIR, {"prompt": "q", "choosen": "a", "rejected": "b"})
    ),
    "half a pair": file("a.jsonl", lines({"prompt": "q", "chosen": "a"})),
    "columns of no format": file("a.jsonl", lines({"body": "q", "title": "a"})),
    "turns under another name": file("a.jsonl", lines({"dialog": [USER, YES]}), kind="chat"),
    "labels where answers are wanted": file("a.jsonl", LABELLED, kind="chat"),
    "labels that are not meant": file(
        "a.jsonl", LABELLED, kind="chat", fields={"messages": "messages"}
    ),
    "two formats in one file": file("a.jsonl", lines(PAIR, {"messages": [USER, YES]})),
    "a label that is no truth value": file(
        "a.jsonl", lines({"prompt": "q", "completion": "a", "label": "good"}), kind="label"
    ),
    "a null label by its other name": file(
        "a.jsonl", lines({"messages": [USER, YES], "kto_tag": None}), kind="label"
    ),
    "a margin that is no number": file(
        "a.jsonl", b'{"prompt": "q", "chosen": "a", "rejected": "b", "margin": NaN}\n'
    ),
    "a margin in words": file("a.jsonl", lines(PAIR | {"margin": "high"})),
    "prompts where pairs are wanted": file("a.jsonl", lines({"prompt": "q"})),
    "texts where labels are wanted": file("a.jsonl", lines({"text": "q"}), kind="label"),
    # turns
    "a misspelt role": file(
        "a.jsonl", lines({"messages": [USER, {"role": "asistant", "content": "a"}]}), kind="chat"
    ),
    "a role that is a number": file(
        "a.jsonl", lines({"messages": [{"role": 1, "content": "a"}]}), kind="chat"
    ),
    "the user has the last word": file(
        "a.jsonl", lines({"messages": [USER, YES, USER]}), kind="chat"
    ),
    "no turns": file("a.jsonl", lines({"messages": []}), kind="chat"),
    "a list of conversations": file("a.jsonl", lines({"messages": [[USER, YES]]}), kind="chat"),
    "strings for turns": file("a.jsonl", lines({"messages": ["q", "a"]}), kind="chat"),
    "tool calls": file(
        "a.jsonl",
        lines({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": 1}]}]}),
        kind="chat",
    ),
    "a picture": file(
        "a.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, YES]}),
        kind="chat",
    ),
    "a system turn in the middle": file(
        "a.jsonl",
        lines({"messages": [USER, YES, {"role": "system", "content": "s"}, USER, NO]}),
        kind="chat",
    ),
    "the assistant speaks first": file(
        "a.jsonl", lines({"messages": [YES, USER, NO]}), kind="chat"
    ),
    "one side a string": file(
        "a.jsonl", lines({"prompt": "q", "chosen": [USER, YES], "rejected": "b"})
    ),
    "sides that answer different questions": file(
        "a.jsonl", lines(SIDES | {"rejected": [USER | {"content": "r"}, NO]})
    ),
    "sides without a prompt": file("a.jsonl", lines({"chosen": [YES], "rejected": [NO]})),
    "a prompt that the sides do not repeat": file("a.jsonl", lines({"prompt": "other", **SIDES})),
    "one side goes on": file(
        "a.jsonl", lines({"chosen": [USER, YES, USER, YES], "rejected": [USER, NO]})
    ),
    # transcripts
    "a transcript that ends with an empty turn": file(
        "a.jsonl",
        lines({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant:"}),
    ),
    "a transcript that ends with the human": file(
        "a.jsonl",
        lines(
            {
                "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: ok",
                "rejected": "\n\nHuman: q\n\nAssistant: b",
            }
        ),
    ),
    "a transcript in which a mark is quoted": file(
        "a.jsonl",
        lines(
            {
                "chosen": "\n\nHuman: see\n\nHuman: x\n\nAssistant: a",
                "rejected": "\n\nHuman: see\n\nHuman: x\n\nAssistant: b",
            }
        ),
    ),
    "transcripts that share all but the last answer": file(
        "a.jsonl",
        lines(
            {
                "chosen": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant: a",
                "rejected": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant: b",
            }
        ),
    ),
    # settings
    "a fraction of less than a row": file("a.jsonl", lines(PAIR, SECOND), fraction=0.1),
    "too many bad rows to skip": file("a.jsonl", lines(PAIR, {"prompt": "q"}), on_bad_row="skip"),
    "a field that is not there": file(
        "a.jsonl", lines({"ask": "q", "chosen": "a", "rejected": "b"}), fields={"prompt": "asks"}
    ),
    "a language column that is not there": file(
        "a.jsonl", lines(PAIR | {"lang": "ko"}), language="column:lnag"
    ),
    "a misspelt way to tell the language": file("a.jsonl", lines(PAIR), language="detct"),
}


EXPECTED = expected()


@pytest.mark.parametrize("title", FILES)
def test_each_file_gives_its_message_or_its_rows(tmp_path, title) -> None:
    name, data, told = FILES[title]
    found = outcome(tmp_path, name, data, **told)
    pattern = ".*".join(re.escape(part) for part in EXPECTED[title].split("…"))
    assert re.fullmatch(pattern, found), found


def test_nothing_is_expected_of_a_file_that_is_not_there() -> None:
    assert list(EXPECTED) == list(FILES)
