"""The check as a whole: one document, in JSON and on a screen."""

import io
import json

import pytest
from rich.console import Console

from accord.data.check import check_file
from accord.data.check.report import SHOWN_BAD, report
from accord.errors import AccordError
from accord.text.tokenizer import Tokenizer


def pair(i: int, chosen: str = "yes", rejected: str = "no") -> dict:
    return {"prompt": f"q{i}", "chosen": chosen + str(i), "rejected": rejected + str(i)}


def screen(check, width: int = 80, **console) -> str:
    file = io.StringIO()
    options = {"highlight": False, "markup": False, "emoji": False, **console}
    Console(file=file, width=width, **options).print(report(check, not console, width))
    return file.getvalue()


def test_a_sound_file(write, tmp_path) -> None:
    path = write([{"text": "x " * n} for n in range(1, 101)])
    found = check_file(path, tmp_path, show=1)
    document = json.loads(json.dumps(found.to_json()))
    assert found.ok and document["ok"]
    assert (document["rows"], document["sound"], document["formats"]) == (100, 100, {"text": 100})
    assert document["account"] == {str(path): {"kept": 100, "dropped": {}, "truncated": {}}}
    words = document["lengths"]["words"]
    assert words["text"]["p95"] == 95 and sum(words["text"]["histogram"]) == 100
    assert len(words["edges"]) == len(words["text"]["histogram"]) + 1
    assert document["length_bias"] is document["limit"] is document["overlap"] is None
    assert document["findings"] == []
    assert screen(found).startswith(f"{path}: ok\n".replace("\n", ""))


def test_findings_stand_by_their_gravity(write, tmp_path) -> None:
    rows = [pair(i, "a much longer answer ") for i in range(60)]
    path = write([*rows, rows[0], {"prompt": "q", "chosen": None, "rejected": "x"}])
    found = check_file(path, tmp_path, against=path)
    names = [(finding.severity, finding.name) for finding in found.findings]
    assert names[0] == ("error", "bad_rows")
    assert names[1:] == [("warning", n) for n in ("length_bias", "overlap", "duplicates")]
    assert not found.ok
    assert found.bias is not None and found.bias.pairs == 60
    assert found.account.to_json()[str(path)]["dropped"] == {"bad row": 1, "duplicate": 1}


def test_lengths_and_bias_are_in_tokens_where_there_is_a_tokenizer(
    write, tmp_path, tokenizer: Tokenizer
) -> None:
    path = write([pair(i) for i in range(5)])
    found = check_file(path, tmp_path, tokenizer, 64)
    assert found.bias is not None and found.bias.unit == "tokens"
    document = found.to_json()
    assert document["limit"]["max_length"] == 64
    assert document["lengths"]["tokens"]["chosen"]["rows"] == 5
    plain = check_file(path, tmp_path)
    assert plain.bias is not None and plain.bias.unit == "characters"


def test_a_limit_needs_a_tokenizer(write, tmp_path) -> None:
    with pytest.raises(AccordError, match="no tokenizer to count them"):
        check_file(write([pair(1)]), tmp_path, max_length=10)


def test_a_row_that_is_cut_is_among_those_shown(write, tmp_path, tokenizer: Tokenizer) -> None:
    path = write([*[pair(i) for i in range(5)], pair(9, "word " * 80)])
    found = check_file(path, tmp_path, tokenizer, 32, show=2)
    assert [(shown.where, bool(shown.fate)) for shown in found.shown] == [
        (f"{path}:1", False),
        (f"{path}:6", True),
    ]


@pytest.mark.parametrize("width", [80, 130])
def test_the_report_fits_its_screen(write, tmp_path, tokenizer: Tokenizer, width: int) -> None:
    rows = [pair(i, "a much longer answer, </s> as it were " * 9) for i in range(30)]
    bad = [{"prompt": "q", "chosen": None, "rejected": "x"}] * (SHOWN_BAD + 3)
    path = write([*rows, *bad])
    said = screen(check_file(path, tmp_path, tokenizer, 200, against=path), width)
    lines = said.splitlines()
    assert max(len(line) for line in lines) <= width
    assert "".join(lines).count("'chosen' is null") == SHOWN_BAD
    assert "and 3 more bad rows" in said
    for word in ("not usable as it is", "longer side", "← max_length 200", "⟦", "a.jsonl:31", "█"):
        assert word in " ".join(said.split())


def test_nothing_in_a_file_moves_the_cursor(write, tmp_path) -> None:
    rows = [pair(1) | {"\x1b[2J \ud800": 1}, pair(2) | {"chosen": [{"role": "\x1b[1m"}]}]
    said = screen(check_file(write(rows), tmp_path))
    assert "\x1b" not in said and "\\x1b[2J \\ud800" in said
    assert "\\x1b[1m" in said


def test_what_is_masked_is_dim_on_a_terminal(write, tmp_path, tokenizer: Tokenizer) -> None:
    found = check_file(write([pair(1)]), tmp_path, tokenizer)
    said = screen(found, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[2;39mq1\x1b[0m" in said and "\x1b[1;39myes1\x1b[0m" in said
    assert "⟦" not in said.split("the rest dim")[1]
