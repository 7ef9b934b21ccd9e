"""Every kind of row runs, beside its peers, and leaves figures and a page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("row", ["dpo", "head"])  # the others take minutes
def test_row_runs_quickly_beside_its_peers(row: str, tmp_path: Path) -> None:
    result, page = tmp_path / "cpu.json", tmp_path / "page.md"
    done = run("--quick", "--only", row, "--json", str(result), "--page", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    held = json.loads(result.read_text())
    contenders = held["rows"][row]["contenders"]
    assert all(c["error"] is None and len(c["rates"]) == 2 for c in contenders.values())
    assert all(rate > 0 for c in contenders.values() for rate in c["rates"])
    versions = held["rows"][row]["measured"]["versions"]
    assert {"torch", "transformers", "trl"} <= versions.keys()
    for target in held["rows"][row]["targets"]:
        assert target["ratio"] > 0
    assert held["rows"][row]["title"] in page.read_text()
    for note in ("first_loss", "first_grad_norm"):
        first = [c["notes"][note] for c in contenders.values() if note in c["notes"]]
        assert max(first, default=0) - min(first, default=0) < 0.02


def test_unknown_row_names_those_there_are(tmp_path: Path) -> None:
    done = run("--only", "dop", "--json", str(tmp_path / "x"), "--page", str(tmp_path / "y"))
    assert done.returncode == 2
    assert "dpo" in done.stdout
    assert not (tmp_path / "x").exists()
