"""The battery's rows about data, at the size of CI."""

from pathlib import Path
from random import Random

import pytest


def test_fuzzed_files_recipes_and_folders_give_their_content_or_a_message(tmp_path: Path) -> None:
    from battery import fuzz
    from battery.row import Size

    outcome = fuzz.run(tmp_path, Size(fuzz=100, seed=7))
    assert outcome.passed, outcome.details["failed"]
    assert sum(sum(count.values()) for count in outcome.details["counts"].values()) == 100


def test_what_is_no_message_breaks_the_law() -> None:
    from battery import fuzz

    def raises(random: Random) -> str:
        return fuzz.answered(lambda: int("x"))

    assert "ValueError" in fuzz.verdict(fuzz.Case("a", lambda: raises(Random(1))))


def test_a_row_that_is_not_counted_breaks_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accord.data.account import Account
    from battery import fuzz_data

    row = b'{"text": "a"}\n{"text": "b"}\n'
    assert fuzz_data.read(tmp_path, ".jsonl", row, "text", Random(3)) == "accepted"
    monkeypatch.setattr(Account, "read", lambda self, source: 1)
    with pytest.raises(AssertionError, match="1 rows in the account, 2 in the file"):
        fuzz_data.read(tmp_path, ".jsonl", row, "text", Random(3))


@pytest.mark.parametrize("kind", ["sft", "preference", "ppo"])
def test_faults_are_told_by_line_before_a_model_is_opened(tmp_path: Path, kind: str) -> None:
    from battery import data

    model = data.torn_model(tmp_path / "model")
    assert data.strict(kind, tmp_path, model) == {}
    assert data.lenient(kind, tmp_path, model) == {}
    (tmp_path / "a.jsonl").write_bytes(_sound(kind))
    assert "a.jsonl" not in data.told(kind, tmp_path, model)[1]  # sound rows: the model is at fault


def _sound(kind: str) -> bytes:
    import json

    from battery import data

    rows = [{**data.SOUND[kind], "prompt": f"q {n}"} for n in range(9)]
    if kind == "sft":
        rows = [{"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant",
                 "content": "a"}]} for n in range(9)]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
