"""The check of a file: everything wrong with it at once, with its lines."""

import json
from pathlib import Path

import pytest

from accord.config.data import SourceConfig
from accord.data.check import SHOWN, check_file
from accord.errors import AccordError


class Letters:
    """A tokenizer with one token a character."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_sound_file(tmp_path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "x " * n} for n in range(1, 101)])
    report = check_file(path, tmp_path, Letters(), max_length=190)
    assert report.ok
    assert report.to_json() == {
        "path": str(path),
        "ok": True,
        "formats": {"text": 100},
        "rows": 100,
        "bad": [],
        "duplicates": 0,
        "identical_pairs": 0,
        "too_long": 5,
        "lengths": {
            "characters": {"min": 2, "p50": 100, "p95": 190, "max": 200},
            "words": {"min": 1, "p50": 50, "p95": 95, "max": 100},
            "tokens": {"min": 2, "p50": 100, "p95": 190, "max": 200},
        },
    }
    assert report.lines()[0] == f"{path}: ok"


def test_all_faults_at_once(tmp_path) -> None:
    pairs = [{"prompt": "q", "chosen": "yes", "rejected": "no"}] * 2
    pairs += [{"prompt": "q", "chosen": "yes", "rejected": "yes"}]
    pairs += [{"prompt": "q", "chosen": "yes", "rejected": None}] * (SHOWN + 3)
    path = write(tmp_path / "a.jsonl", pairs)
    report = check_file(path, tmp_path)
    assert not report.ok
    assert (report.rows, report.duplicates, report.identical) == (SHOWN + 6, 1, 1)
    assert report.formats == {"preference": 2}
    assert len(report.to_json()["bad"]) == SHOWN + 3
    assert report.to_json()["bad"][0]["where"] == f"{path}:4"
    assert report.to_json()["too_long"] is None
    lines = report.lines()
    assert lines[0].endswith("not usable as it is")
    assert sum("'rejected' is null" in line for line in lines) == SHOWN
    assert lines[-1] == "  and 3 more bad rows"


def test_the_longer_side_of_a_pair_counts(tmp_path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "q", "chosen": "yes", "rejected": "maybe"}])
    assert check_file(path, tmp_path, Letters()).lengths["tokens"] == [7] * 4


def test_settings_of_a_source_are_used(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1\tgood\n2\tbad\n")
    source = SourceConfig(source=str(path), columns=("id", "text"))
    assert check_file(source, tmp_path).formats == {"text": 2}


def test_a_file_that_is_none_is_an_error(tmp_path) -> None:
    with pytest.raises(AccordError, match="No such file"):
        check_file(tmp_path / "a.jsonl", tmp_path)
    with pytest.raises(AccordError, match="holds no rows"):
        check_file(write(tmp_path / "b.jsonl", []), tmp_path)
    with pytest.raises(AccordError, match="No known format"):
        check_file(write(tmp_path / "c.jsonl", [{"x": 1}]), tmp_path)
