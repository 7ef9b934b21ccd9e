"""The battery's rows about data, at the size of CI."""

from pathlib import Path
from random import Random

import pytest


def test_fuzzed_files_recipes_and_folders_give_their_content_or_a_message(tmp_path: Path) -> None:
    from battery import fuzz
    from battery.row import Size

    outcome = fuzz.run(tmp_path, Size(fuzz=150, seed=7))
    assert outcome.passed, outcome.details["failed"]
    assert sum(sum(count.values()) for count in outcome.details["counts"].values()) == 150


def test_what_is_no_message_breaks_the_law() -> None:
    from battery import fuzz

    def raises(random: Random) -> str:
        return fuzz.answered(lambda: [][1])

    assert "IndexError" in fuzz.verdict(fuzz.Case("a", lambda: raises(Random(1))))


def test_a_row_that_is_not_counted_breaks_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from battery import fuzz_data

    from accord.data.account import Account

    row = b'{"text": "a"}\n{"text": "b"}\n'
    assert fuzz_data.read(tmp_path, ".jsonl", row, "text", Random(3)) == "accepted"
    monkeypatch.setattr(Account, "read", lambda self, source: 1)
    with pytest.raises(AssertionError, match="1 rows in the account, 2 in the file"):
        fuzz_data.read(tmp_path, ".jsonl", row, "text", Random(3))
