"""The result document from folders as the stages leave them, whole or in part."""

import itertools
import json

import pytest

from accord.evaluation.document import POINTS, assemble, curves, read_stage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "accord").mkdir()
    return tmp_path


def put(folder, name, value):
    (folder / "accord" / name).write_text(json.dumps(value))


def test_nothing_at_all_gives_an_empty_document(tmp_path):
    found = assemble({"sft": tmp_path}, title="t")
    assert found["policies"] == {} and found["comparisons"] == [] and found["findings"] == []
    assert found["headline"] == {} and found["timings"] == {} and found["environment"] == {}


def test_parts_are_keyed_by_stage(folder):
    put(folder, "stage.json", {"name": "sft", "kind": "sft", "config": {"lr": 1}, "seconds": 3.5})
    put(folder, "rows.json", {"a": {"kept": 2, "dropped": {}, "truncated": {}}})
    (folder / "accord" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    found = assemble({"sft": folder}, title="t", recipe={"name": "r"}, command="accord run r")
    assert found["stages"]["sft"]["kind"] == "sft"
    assert found["timings"] == {"sft": 3.5}
    assert found["rows"]["sft"]["a"]["kept"] == 2
    assert found["curves"] == {"sft": {"loss": [[1, 2.0]]}}
    assert (found["recipe"], found["command"]) == ({"name": "r"}, "accord run r")


def test_environment_is_that_of_the_last_stage(tmp_path):
    folders = {}
    for name, cores in (("base", 2), ("sft", 4)):
        folders[name] = tmp_path / name
        (folders[name] / "accord").mkdir(parents=True)
        record = {"kind": "sft", "environment": {"cores": cores}, "versions": {"torch": "2"}}
        put(folders[name], "stage.json", {**record, "git_revision": "abc"})
    found = assemble(folders, title="t")["environment"]
    assert found == {"cores": 4, "versions": {"torch": "2"}, "git_revision": "abc"}


def test_curves_keep_numbers_by_step(tmp_path):
    log = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 1, "loss": 3.0, "epoch": None, "note": "text"},
        {"step": 2, "loss": 2.0},
        {"step": 2, "eval_loss": 2.5},
        {"step": 2, "loss": 1.5},  # taken again after a resume
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\n" + '{"step": 3, "lo')  # a kill's line
    assert curves(log) == {"loss": [[1, 3.0], [2, 1.5]], "eval_loss": [[2, 2.5]]}


def test_long_curves_are_thinned_and_keep_their_end(tmp_path):
    log = tmp_path / "metrics.jsonl"
    total = 2 * POINTS + 1
    log.write_text("".join(f'{{"step": {s}, "loss": {s}.5}}\n' for s in range(1, total + 1)))
    points = curves(log)["loss"]
    assert len(points) <= POINTS and points[-1] == [total, total + 0.5]
    steps = [step for step, _ in points]
    assert steps == sorted(steps) and len({b - a for a, b in itertools.pairwise(steps)}) == 1


def test_a_tokenizer_stage_leaves_its_table(folder):
    put(folder, "tokenizer_report.json", [{"script": "Latin", "tokens": 3}])
    assert assemble({"tokenizer": folder}, title="t")["tokenizer"][0]["script"] == "Latin"
    assert read_stage(folder)["stage"] == {}


def evaluation(low: float) -> dict:
    def policy(mean: float, kl: float) -> dict:
        return {
            "scores": {"vader": {"mean": mean, "ci95": [mean, mean], "n": 4}},
            "kl": {"mean": kl, "ci95": [kl, kl], "n": 4, "per_token": kl / 10},
            "statistics": {"distinct_2": 0.5, "unique": 1.0, "ended": 1.0, "length": 9.0},
        }

    row = {"policy": "dpo", "reference": "sft", "scorer": "vader", "difference": 0.35, "n": 4}
    row |= {"ci95": [low, 0.41], "win_rate": 0.8, "win_rate_ci95": [0.7, 0.9]}
    return {
        "policies": {"sft": policy(0.23, 0.0), "dpo": policy(0.58, 5.4)},
        "comparisons": [row],
        "histograms": {},
        "samples": [],
        "protocol": {"reference": "sft", "policies": ["sft", "dpo"], "scorers": ["vader"]},
    }


def test_findings_and_headline_are_those_of_the_evaluation(folder):
    put(folder, "evaluation.json", evaluation(low=0.28))
    found = assemble({"report": folder}, title="t")
    assert found["headline"]["sentence"] == (
        "dpo moved mean vader from 0.23 to 0.58 at 5.4 nats from sft."
    )
    assert any(f["name"] == "difference" for f in found["findings"])


def test_the_document_is_plain_json(folder):
    put(folder, "evaluation.json", evaluation(low=0.1))
    found = assemble({"report": folder}, title="t")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
