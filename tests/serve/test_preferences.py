"""What the page's button appends is what Accord's preference stages read."""

import json
import threading

import pytest

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import load_rows
from accord.serve.errors import ApiError
from accord.serve.preferences import append, preference_rows
from accord.text.messages import Message

ASKED = [Message("system", "Be brief."), Message("user", "How was it? 你好")]


def test_rows_load_as_pairs(tmp_path):
    file = tmp_path / "preferences.jsonl"
    append(
        str(file), preference_rows(ASKED, " Good.", ["Bad.", "So\u2028so."], "dpo", ["sft", "base"])
    )
    append(str(file), preference_rows(ASKED[1:], "Fine.", ["Ill."]))
    source = SourceConfig(source=str(file))
    loaded = load_rows([source], HeldoutConfig(), "pair", 1, Account(), tmp_path / "cache")
    pairs = {(row.chosen[0].content, row.rejected[0].content) for row in loaded.train}
    assert pairs == {(" Good.", "Bad."), (" Good.", "So\u2028so."), ("Fine.", "Ill.")}
    assert {tuple(row.prompt) for row in loaded.train} == {tuple(ASKED), tuple(ASKED[1:])}


def test_accords_data_check_has_nothing_against_them(tmp_path, accord):
    file = tmp_path / "preferences.jsonl"
    for number in range(3):
        asked = [Message("user", f"How was number {number}?")]
        append(str(file), preference_rows(asked, f"Good {number}.", [f"Bad {number}."]))
    done = accord("data", "check", file, "--strict", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)


def test_the_server_appends(ask, server):
    asked = [{"role": "user", "content": "How?"}]
    saved = ask("/preferences", prompt=asked, chosen="a", rejected=["b", "c"], status=400)
    assert "model" in saved["error"]["message"]  # the address names no model
    import httpx

    body = {"prompt": asked, "chosen": "a", "rejected": ["b", "c"], "chosen_model": "dpo"}
    answer = httpx.post(server.url + "/preferences", json=body).json()
    assert answer == {"rows": 2, "file": str(server.preferences)}
    rows = [json.loads(line) for line in server.preferences.read_text().splitlines()]
    assert [row["rejected"][0]["content"] for row in rows[-2:]] == ["b", "c"]


@pytest.mark.parametrize(
    ("asked", "chosen", "rejected"),
    [
        (ASKED, "a", ["a"]),
        (ASKED, " ", ["a"]),
        (ASKED, "a", ["b", "\n"]),
        ([*ASKED, Message("assistant", "x")], "a", ["b"]),
        ([Message("user", " ")], "a", ["b"]),
    ],
    ids=["same", "blank chosen", "blank rejected", "answered already", "nothing asked"],
)
def test_what_teaches_nothing_is_refused(asked, chosen, rejected):
    with pytest.raises(ApiError) as refused:
        preference_rows(asked, chosen, rejected)
    assert refused.value.status == 400


def test_lines_are_whole_whoever_else_appends(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"a": 1}')  # without its line's end

    def often(number: int) -> None:
        for _ in range(20):
            append(str(file), preference_rows(ASKED, f"good {number} " * 400, ["bad"]))

    threads = [threading.Thread(target=often, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.read_text().splitlines()
    assert len(lines) == 81
    assert all(json.loads(line) for line in lines)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ApiError, match="no/such"):
        append(str(tmp_path / "no/such"), preference_rows(ASKED, "a", ["b"]))
