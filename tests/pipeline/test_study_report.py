"""What a study hands to the statistics, and what it repeats of a stage's live diagnosis."""

import json
from pathlib import Path

import pytest
import yaml

from accord.config.study import load_study
from accord.pipeline.study_plan import Plan, plan
from accord.pipeline.study_report import evaluated, warnings

RECIPE = """\
name: toy
stages:
  tokenizer: {kind: tokenizer, data: [{source: a.txt}]}
  sft: {kind: pretrain, tokenizer: tokenizer, steps: 3, data: [{source: a.txt}]}
  hot: {kind: evaluate, reference: sft, policies: [sft], prompts: {texts: [hi]}}
  cold: {kind: evaluate, reference: sft, policies: [sft], prompts: {texts: [ho]}}
"""


@pytest.fixture
def laid(home) -> Plan:
    (home / "recipe.yaml").write_text(RECIPE)
    whole = {"name": "lab", "recipe": "recipe.yaml", "seeds": [1], "evaluate": "hot"}
    whole["variants"] = {"a": {}, "b": {"sft.lr": 1.0, "cold.sampling.temperature": 0.5}}
    (home / "study.yaml").write_text(yaml.safe_dump(whole))
    laid = plan(load_study(home / "study.yaml"), Path("runs/lab"), home)
    for key, node in laid.nodes.items():
        if node.config.kind == "evaluate":
            records = laid.folder(key) / "accord"
            records.mkdir(parents=True)
            (records / "evaluation.json").write_text(json.dumps({"protocol": {"of": node.name}}))
    return laid


def test_keys_of_other_evaluations_are_no_factors(laid):
    cells = [evaluated(laid, cell) for cell in laid.cells]
    differing = {k for k in cells[0].settings if cells[0].settings[k] != cells[1].settings[k]}
    assert differing == {"stages.sft.lr"}
    for cell in cells:
        assert cell.evaluation["protocol"] == {"of": "hot"}
        assert cell.run["protocol"] == {"of": "hot"}


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
        {"step": n, "loss": 2.0, "rewards/chosen": 3.0, "rewards/rejected": 2.0}
        for n in range(1, 41)
    ]
    said = list(warnings(run_of(tmp_path / "wrong", wrong)))
    assert any("wrong_reference (step 1)" in line for line in said)
    assert list(warnings(run_of(tmp_path / "quiet", []))) == []
