"""Languages: named, read from a column or detected; counted, and no part of what a row says."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data import language
from accord.data.account import Account
from accord.data.formats import Converter
from accord.data.kinds import as_kind
from accord.data.load import load_rows
from accord.data.mixture import mixed
from accord.data.rawfile import BadRow, RawRow
from accord.errors import AccordError

PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


def convert(row, told):
    return Converter(SourceConfig(source="f.jsonl", language=told))(RawRow(row, "f.jsonl:1"))


def load(folder: Path, rows, **given):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    account = Account()
    source = SourceConfig(source="a.jsonl", **given)
    half = HeldoutConfig(fraction=0.3)
    loaded = load_rows([source], half, "pair", 1, account, folder, folder)
    return loaded, account


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (None, None),
        ("ko", "ko"),
        ("Korean (formal)", "Korean (formal)"),
        ("column:lang", "hi"),
        ("column:meta.lang", "kn"),
        ("column:none", language.UNKNOWN),
        ("column:blank", language.UNKNOWN),
    ],
)
def test_a_language_is_named_or_read_from_a_column(told, found) -> None:
    columns = {"lang": "hi", "meta": {"lang": "kn"}, "none": None, "blank": " "}
    assert convert(PAIR | columns, told).language == found


@pytest.mark.parametrize(
    ("told", "why", "fix"),
    [
        ("column:lnag", "language: the row has no field 'lnag'", "did you mean 'lang'?"),
        ("column:n", "the language field 'n' is a number (3), expected a string", ""),
    ],
)
def test_a_column_that_holds_no_language_is_a_bad_row(told, why, fix) -> None:
    row = convert(PAIR | {"lang": "hi", "n": 3}, told)
    assert isinstance(row, BadRow)
    assert (row.why, row.fix) == (why, fix)


@pytest.mark.parametrize("slip", ["detct", "Detect", "colum:lang", "column", "a:b", " "])
def test_a_slip_is_not_taken_for_the_name_of_a_language(slip) -> None:
    with pytest.raises(AccordError, match="language is ") as caught:
        convert(PAIR, slip)
    assert "detect" in caught.value.fix


DETECTED = [
    ({"text": "What is the capital of France, and how large is it?"}, "en"),
    ({"prompt": "대한민국의 수도는 어디입니까?", "chosen": "서울입니다.", "rejected": "no"}, "ko"),
    ({"prompt": "नमस्ते, आप कैसे हैं?", "completion": "मैं ठीक हूँ, धन्यवाद।"}, "hi"),
    ({"prompt": "ನಮಸ್ಕಾರ", "completion": "ಹೇಗಿದ್ದೀರಿ", "label": True}, "kn"),
    # what is rejected says nothing about the row
    ({"prompt": "Where do you live now?", "chosen": "In a town.", "rejected": "서울입니다."}, "en"),
    ({"text": "123 + 456"}, language.UNKNOWN),
    ({"text": "ok"}, language.UNKNOWN),
]


@pytest.mark.parametrize(("row", "code"), DETECTED)
def test_detection_reads_prompt_and_wanted_answer_and_admits_doubt(row, code) -> None:
    assert convert(row, "detect").language == code
    assert convert(row, "detect").language == code


def test_detection_without_its_library_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    language._identifier.cache_clear()
    with pytest.raises(AccordError, match=r"needs py3langid(.|\n)*accord\[rewards\]"):
        convert(PAIR, "detect")


def test_a_language_is_no_part_of_the_content_and_goes_wherever_the_row_goes() -> None:
    row = convert(PAIR, "ko")
    assert row.id == convert(PAIR, None).id
    assert "ko" not in json.dumps(row.content())
    assert replace(row, chosen=row.rejected).language == "ko"
    for kind in ("pair", "chat", "prompt", "label"):
        assert as_kind(row, kind).language == "ko"


def test_kept_rows_are_counted_by_language(tmp_path) -> None:
    rows = [PAIR | {"prompt": f"q{n}", "lang": ("ko", "en", "en")[n % 3]} for n in range(60)]
    loaded, account = load(tmp_path, [*rows, rows[0]], language="column:lang")
    entry = account.to_json()["a.jsonl"]
    assert entry["languages"] == {"en": 40, "ko": 20}
    assert entry["kept"] == len(loaded.train) + len(loaded.heldout) == 60
    assert sum(entry["dropped"].values()) == 1


def test_no_language_is_counted_where_none_is_told(tmp_path) -> None:
    _, account = load(tmp_path, [PAIR | {"prompt": f"q{n}"} for n in range(20)])
    assert "languages" not in account.to_json()["a.jsonl"]


def test_rows_that_a_mixture_leaves_out_leave_their_language_too(tmp_path) -> None:
    rows = [PAIR | {"prompt": f"q{n}", "lang": "ko" if n % 2 else "en"} for n in range(40)]
    loaded, account = load(tmp_path, rows, language="column:lang")
    kept = loaded.train + loaded.heldout
    taken = mixed(kept, [1] * len(kept), {"a.jsonl": 1.0}, 1, account, total=10)
    entry = account.to_json()["a.jsonl"]
    assert len(taken) == 10
    assert entry["kept"] == sum(entry["languages"].values()) == 10
    assert entry["languages"]["ko"] == sum(kept[place].language == "ko" for place in taken)
