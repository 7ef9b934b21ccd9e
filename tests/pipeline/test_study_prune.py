"""Pruning lists what no variant names, and deletes just that when it is agreed to."""

import json
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from accord.config.study import load_study
from accord.errors import AccordError
from accord.pipeline import study, study_prune, study_report
from accord.pipeline.execute import MODULES
from accord.pipeline.lock import locked

RECIPE = """\
name: toy
stages:
  tokenizer: {kind: tokenizer, data: [{source: a.txt}]}
  sft: {kind: pretrain, tokenizer: tokenizer, steps: 3, data: [{source: a.txt}]}
  dpo: {kind: preference, from: sft, steps: 5, data: [{source: b.jsonl}]}
  report: {kind: evaluate, reference: sft, policies: [sft, dpo], prompts: {texts: [hi]}}
"""


@pytest.fixture
def laid(home, monkeypatch):
    """A study that ran with two variants, of which its file has only the first left."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(study_report, "report", lambda laid, console: None)
    (home / "recipe.yaml").write_text(RECIPE)
    whole = {"name": "lab", "recipe": "recipe.yaml", "seeds": [1]}
    modules = dict.fromkeys(MODULES, "study_toy")
    setting = study.StudySetting(1, None, home, Console(file=StringIO()), modules)

    def load(variants: dict):
        (home / "study.yaml").write_text(yaml.safe_dump({**whole, "variants": variants}))
        return load_study(home / "study.yaml")

    study.run(load({"plain": {}, "beta": {"dpo.beta": 0.3}}), None, setting)
    return study.plan(load({"plain": {}}), None, setting)


def folders(laid) -> set[str]:
    return {path.name for path in (laid.out / "stages").iterdir()}


def test_only_what_no_variant_names_is_listed_and_only_that_goes(laid):
    mine = laid.out / "stages" / "notes"
    mine.mkdir()
    (mine / "a.txt").write_text("mine")
    found = study_prune.stale(laid)
    assert sorted(key.rpartition("-")[0] for key in found) == ["dpo", "report"]
    assert all(size > 100 for size in found.values())
    assert folders(laid) == {*laid.nodes, *found, "notes"}
    assert study_prune.delete(laid) == found
    assert folders(laid) == {*laid.nodes, "notes"}
    assert laid.standing() == set(laid.nodes)
    logs = {path.stem for path in (laid.out / "logs").iterdir()}
    assert logs == set(laid.nodes)
    assert study_prune.delete(laid) == {}


def test_nothing_goes_while_the_study_or_a_stage_runs(laid):
    before = folders(laid)
    with locked(laid.out / ".lock"), pytest.raises(AccordError, match="another run"):
        study_prune.delete(laid)
    first = min(study_prune.stale(laid))
    lock = laid.folder(first) / "accord" / "lock"
    with locked(lock), pytest.raises(AccordError, match="another run"):
        study_prune.delete(laid)
    assert folders(laid) == before


def test_sizes_and_their_sum_are_told():
    found = {"dpo-1": 1_500_000, "sft-2": 999, "base-3": 2_000_000_000_000_000}
    lines = study_prune.text(found, "deleted").splitlines()
    assert lines[0] == "   1.5 MB  dpo-1"
    assert lines[1] == "    999 B  sft-2"
    assert lines[2] == "2000.0 TB  base-3"
    assert lines[3] == "2000.0 TB in 3 folders that no variant names: deleted"


def run_of(folder: Path, lines: list[dict]) -> Path:
    """A finished preference stage with this log."""
    records = folder / "accord"
    records.mkdir(parents=True)
    config = {"kind": "preference", "steps": 40, "lr": 1e-3, "beta": 0.1, "loss": "sigmoid"}
    (records / "stage.json").write_text(
        json.dumps({"kind": "preference", "name": "dpo", "config": config})
    )
    (records / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_what_the_live_diagnosis_said_of_a_stage_is_told_again(tmp_path):
    wrong = [
        {"step": n, "loss": 2.0, "rewards/margins": 0.1, "logps/chosen": -9.0} for n in range(1, 41)
    ]
    said = list(study_report.warnings(run_of(tmp_path / "wrong", wrong)))
    assert any("wrong_reference (step 1)" in line for line in said)
    assert list(study_report.warnings(run_of(tmp_path / "quiet", []))) == []
