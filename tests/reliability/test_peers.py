"""The battery's peers: their processes, what is counted of them, and the cheapest case for real."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.peer


@pytest.mark.slow
def test_a_life_ends_as_a_process_does(tmp_path: Path) -> None:
    from battery.peers.lives import lived

    log = tmp_path / "log"
    said = lived(log, 300, print, "as a user", flush := "sees it")
    assert (said.code, said.last_line) == (0, f"as a user {flush}")
    assert lived(log, 300, os._exit, 3).code == 3
    failed = lived(log, 300, json.loads, "{")
    assert failed.code == 1 and "JSONDecodeError" in failed.last_line
    assert lived(log, 300, signal.raise_signal, signal.SIGTERM).code == -signal.SIGTERM
    assert lived(log, 300, signal.raise_signal, signal.SIGINT).code == -signal.SIGINT


@pytest.mark.slow
def test_a_life_over_its_time_is_killed(tmp_path: Path) -> None:
    from battery.peers.lives import lived

    ended = lived(tmp_path / "log", 0.2, time.sleep, 1000)
    assert ended.code == -signal.SIGKILL and ended.seconds < 1000


@pytest.mark.slow
def test_control_tokens_in_user_text_reach_the_peer(tmp_path: Path) -> None:
    """The case itself, on the peer: it goes red if the peer mends this."""
    from battery.peers.texts import CONTROLS, controls
    from battery.row import Size

    outcome = controls(tmp_path, Size())
    assert not outcome.passed
    assert all(outcome.details[text]["apply_chat_template"] > 0 for text in CONTROLS)
    split = "tokenizer(text, split_special_tokens=True)"
    assert all(outcome.details[text][split] == 0 for text in CONTROLS)


def test_each_malformed_file_differs_from_the_whole_one() -> None:
    from battery.peers import malformed, world

    for cases, rows in (
        (malformed.SFT, world.sft_rows(8, 1)),
        (malformed.PAIRS, world.pair_rows(8, 1)),
    ):
        lines = [json.dumps(row).encode() for row in rows]
        whole = b"\n".join(lines) + b"\n"
        made = {name: make(list(lines)) for name, make in cases.items()}
        assert all(data != whole for data in made.values())
        assert len(set(made.values())) == len(made)


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (1, "usual\nError: /x/y/broken.jsonl:5: no JSON", "file:line"),
        (1, "usual\nError: broken.jsonl, line 5: no JSON", "file:line"),
        (1, "usual\nError in 'broken.jsonl': JSON parse error: no value. in row 4", "file:line"),
        (1, "usual\nError: no JSON in row 4", "stopped"),
        (1, "usual\nError: broken.jsonl:57: no JSON", "stopped"),
        (0, "usual", "trained silently"),
        (0, "usual\nUserWarning: a sequence is longer", "trained with a warning"),
        (-9, "usual", "over time"),
    ],
)
def test_what_a_run_on_bad_rows_is_counted_as(code: int, said: str, told: str) -> None:
    from battery.peers.lives import Ended
    from battery.peers.malformed import _told

    ended = Ended(code, said, 1.0)
    assert _told(ended, Path("broken.jsonl"), {"usual"}).partition(": ")[0] == told


def test_messages_do_not_say_where_the_battery_ran() -> None:
    from battery.peers.interrupted import without_paths

    assert without_paths("no '/tmp/battery-1/out/state.json'") == "no '…/state.json'"


def test_a_peer_is_run_beside_the_row_and_told_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from battery import rows, run, table
    from battery.peers import cases
    from battery.row import Outcome, Row

    ours = Row("kills", "killed", "whole", lambda folder, size: Outcome(True, f"{size.kills} fine"))
    other = Row("other", "alone", "well", lambda folder, size: Outcome(True, "fine"))
    monkeypatch.setattr(rows, "all_rows", lambda: [ours, other])
    theirs = {"kills": lambda folder, size: Outcome(False, f"{size.kills} lost")}
    monkeypatch.setattr(cases, "PEERS", theirs)
    page, document = tmp_path / "page.md", tmp_path / "battery.json"
    page.write_text(f"{table.BEGIN}\n{table.END}\n")
    words = ["--kills", "50", "--json", str(document), "--page", str(page)]
    assert run.main([*words, "--peers"]) == 0
    assert "| `kills` | killed | whole | pass | 50 fine | **fail** | 20 lost |" in page.read_text()
    assert "| `other` | alone | well | pass | fine |  | — |" in page.read_text()
    assert "Peers: trl " in page.read_text()
    kept = json.loads(document.read_text())
    assert kept["peers"]["kills"]["size"]["kills"] == 20
    # the peers stand when only our own rows are run again, and ours when only theirs are
    assert run.main(words) == 0
    assert json.loads(document.read_text())["peers"] == kept["peers"]
    theirs["kills"] = lambda folder, size: Outcome(True, "mended")
    assert run.main([*words, "--peers", "only"]) == 0
    again = json.loads(document.read_text())
    assert again["peers"]["kills"]["figure"] == "mended"
    assert again["rows"]["kills"]["figure"] == "50 fine"
    capsys.readouterr()


def test_every_case_of_a_peer_answers_to_a_row() -> None:
    from battery.peers.cases import PEERS
    from battery.rows import all_rows

    assert set(PEERS) <= {row.key for row in all_rows()}
