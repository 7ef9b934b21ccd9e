"""`accord compare` as it is typed."""

import json
import sys
from pathlib import Path

import pytest

from accord.cli import main as entry


def typed(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["accord", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        entry.main()
    return int(left.value.code or 0)


def run(folder: Path, beta: float) -> Path:
    config = {"kind": "preference", "beta": beta}
    stages = {"dpo": {"kind": "preference", "config": config, "fingerprint": str(beta)}}
    document = {"title": "t", "stages": stages, "policies": {}, "findings": []}
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return run(tmp_path / "one", 0.1), run(tmp_path / "other", 0.5)


def test_a_screen(runs, monkeypatch, capsys) -> None:
    assert typed(monkeypatch, "compare", *runs) == 0
    said = capsys.readouterr().out
    assert "dpo.beta" in said
    assert "1 setting of training differs" in said


def test_json_and_a_page(runs, tmp_path, monkeypatch, capsys) -> None:
    assert typed(monkeypatch, "compare", *runs, "--json", "--out", tmp_path / "out") == 0
    assert json.loads(capsys.readouterr().out)["settings"][0]["b"] == 0.5
    assert (tmp_path / "out" / "compare.html").exists()


def test_a_mistake_is_told_on_one_screen(runs, tmp_path, monkeypatch, capsys) -> None:
    assert typed(monkeypatch, "compare", runs[0], tmp_path / "nothing") == 2
    assert "there is no such run" in capsys.readouterr().err
