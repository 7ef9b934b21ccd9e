"""What runs again and what is reused."""

import json
import os
import subprocess
import sys
import time

import pytest

from accord.config.load import stage_from_args
from accord.errors import AccordError
from accord.pipeline.artifacts import Artifact
from accord.pipeline.run import run, run_single

ALL = ["tokenizer", "base", "sft", "dpo"]


def stage_json(home, name):
    return json.loads((home / "runs/toy" / name / "accord/stage.json").read_text())


def test_stages_run_in_the_order_of_their_inputs_once(home, setting, recipe, calls):
    out = run(recipe(), setting=setting)
    assert out.resolve() == home / "runs/toy"
    assert calls() == ALL
    run(recipe(), setting=setting)
    assert calls() == []
    lines = setting.console.file.getvalue().splitlines()
    assert lines[-4:] == [f"{name}  reused" for name in ALL]
    assert lines[0].startswith("tokenizer  ")
    assert lines[0].endswith(" s")


def test_one_stage_runs_with_what_it_needs(setting, recipe, calls):
    run(recipe(), stage="base", setting=setting)
    assert calls() == ["tokenizer", "base"]
    run(recipe(), stage="dpo", setting=setting)
    assert calls() == ["sft", "dpo"]
    with pytest.raises(AccordError, match="did you mean 'dpo'"):
        run(recipe(), stage="dpoo", setting=setting)


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        (["dpo.beta=0.3"], ["dpo"]),
        (["sft.lr=1e-5"], ["sft", "dpo"]),
        (["base.steps=11"], ["base", "sft", "dpo"]),
        (["tokenizer.vocab_size=300"], ALL),
        (["sft.seed=7"], ["sft", "dpo"]),
        (["sft.seed=1"], []),  # the recipe's own seed, said aloud
        (["dpo.log_every=5", "sft.save_every=2", "base.keep_last=3", "dpo.resume=false"], []),
        (["base.async_save=true"], []),
        (["title=Another heading"], []),
    ],
)
def test_a_change_reruns_what_it_touches(setting, recipe, calls, change, rerun):
    run(recipe(), setting=setting)
    calls()
    run(recipe(*change), setting=setting)
    assert calls() == rerun


def test_changed_data_reruns_its_readers(home, setting, recipe, calls):
    run(recipe(), setting=setting)
    calls()
    (home / "b.jsonl").write_text('{"text": "y"}\n')
    run(recipe(), setting=setting)
    assert calls() == ["sft", "dpo"]


def test_a_stage_whose_files_are_gone_or_cut_runs_again(home, setting, recipe, calls):
    run(recipe(), setting=setting)
    calls()
    (home / "runs/toy/dpo/config.json").unlink()
    run(recipe(), setting=setting)
    assert calls() == ["dpo"]
    (home / "runs/toy/dpo/config.json").write_text("{")
    run(recipe(), setting=setting)
    assert calls() == ["dpo"]


def test_weights_that_changed_since_their_stage_are_not_started_from(home, setting, recipe, calls):
    run(recipe(), stage="base", setting=setting)
    weights = home / "runs" / "toy" / "base" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(AccordError, match="is missing or not as its stage wrote it") as raised:
        run(recipe(), stage="sft", setting=setting)
    assert raised.value.where.endswith("runs/toy/base/model.safetensors")
    weights.write_bytes(whole)
    run(recipe(), stage="sft", setting=setting)
    assert calls() == ["tokenizer", "base", "sft"]


def test_a_broken_try_is_resumed_by_its_own_settings_only(home, setting, recipe, monkeypatch):
    monkeypatch.setenv("TOY_FAILS", "sft")
    with pytest.raises(AccordError, match="the toy broke"):
        run(recipe(), setting=setting)
    assert not (home / "runs/toy/sft/accord/stage.json").exists()
    monkeypatch.delenv("TOY_FAILS")
    run(recipe(), stage="sft", setting=setting)
    resumed = home / "runs/toy/sft/accord/resumed.json"
    assert json.loads(json.loads(resumed.read_text()))["kind"] == "sft"

    monkeypatch.setenv("TOY_FAILS", "sft")
    with pytest.raises(AccordError, match="the toy broke"):
        run(recipe("sft.lr=1e-5"), setting=setting)
    monkeypatch.delenv("TOY_FAILS")
    run(recipe("sft.lr=2e-5"), stage="sft", setting=setting)
    assert json.loads(resumed.read_text()) == "fresh"


def test_the_record_says_how_it_was_made(home, setting, recipe):
    run(recipe(), setting=setting)
    record = stage_json(home, "dpo")
    assert record["name"] == "dpo"
    assert record["kind"] == "preference"
    assert record["config"]["from"] == "sft"
    assert record["inputs"] == {"sft": stage_json(home, "sft")["fingerprint"]}
    assert set(record["data"]) == {"b.jsonl"}
    assert record["seed"] == 1
    assert {"accord", "torch", "python"} <= set(record["versions"])
    assert {"machine", "cores", "threads"} <= set(record["environment"])
    assert "config.json" in record["outputs"]
    assert record["seconds"] >= 0
    assert record["git_revision"] is None


def test_seconds_of_all_tries_add_up(tmp_path):
    artifact = Artifact(tmp_path / "stage")
    artifact.begin("mark")
    began = artifact.started["began"]
    late = artifact.records / "metrics.jsonl"
    late.write_text("")
    os.utime(late, (began + 50, began + 50))
    # A lock is taken anew before the next try begins: no time of the last one.
    lock = artifact.records / "lock"
    lock.write_text("")
    os.utime(lock, (began + 500, began + 500))
    artifact.begin("mark")
    assert artifact.started["seconds"] == pytest.approx(50)
    artifact.finish({})
    assert 50 <= artifact.finished["seconds"] < 500
    artifact.begin("other")
    assert artifact.started["seconds"] == 0


def test_a_foreign_folder_is_left_alone(home, setting, recipe, calls):
    folder = home / "runs/toy/tokenizer"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("mine")
    with pytest.raises(AccordError, match="no stage of Accord wrote"):
        run(recipe(), setting=setting)
    assert (folder / "config.json").read_text() == "mine"
    assert calls() == []


def test_clearing_leaves_what_stages_did_not_write(home, setting, recipe):
    run(recipe(), setting=setting)
    notes = home / "runs/toy/dpo/notes.txt"
    notes.write_text("mine")
    run(recipe("dpo.beta=0.9"), setting=setting)
    assert notes.read_text() == "mine"
    assert stage_json(home, "dpo")["config"]["beta"] == 0.9


def test_missing_data_is_named_before_anything_runs_on_it(home, setting, recipe):
    (home / "b.jsonl").unlink()
    with pytest.raises(AccordError, match=r"no file 'b\.jsonl'") as caught:
        run(recipe(), setting=setting)
    assert caught.value.where == "stages.sft.data.0.source"


def test_a_single_stage_writes_the_folder_itself(home, setting, recipe, calls):
    run(recipe(), stage="base", setting=setting)
    calls()
    config = stage_from_args(
        "sft", {"from": "runs/toy/base", "steps": 1, "data": [{"source": "b.jsonl"}]}
    )
    out = run_single(config, home / "mine", setting)
    assert (out / "config.json").exists()
    assert calls() == ["sft"]
    run_single(config, home / "mine", setting)
    assert calls() == []
    # The weights it starts from are part of the fingerprint.
    (home / "runs/toy/base/config.json").write_text("{}")
    run_single(config, home / "mine", setting)
    assert calls() == ["sft"]


def test_a_stage_never_writes_into_its_own_input(home, setting, recipe):
    run(recipe(), stage="base", setting=setting)
    given = {"from": "runs/toy/base", "steps": 1, "data": [{"source": "b.jsonl"}]}
    with pytest.raises(AccordError, match="both what the stage starts from"):
        run_single(stage_from_args("sft", given), home / "runs/toy/base", setting)
    assert stage_json(home, "base")["kind"] == "pretrain"


def test_an_input_folder_without_a_model_is_refused(home, setting):
    (home / "empty").mkdir()
    given = {"from": "empty", "steps": 1, "data": [{"source": "b.jsonl"}]}
    with pytest.raises(AccordError, match="no model and no tokenizer"):
        run_single(stage_from_args("sft", given), home / "mine", setting)


def test_a_standing_run_loads_no_torch(home, setting, recipe):
    run(recipe(), setting=setting)
    code = (
        "import sys; from accord.config.load import load_recipe\n"
        "from accord.pipeline.run import run\n"
        "run(load_recipe('recipe.yaml')); assert 'torch' not in sys.modules, 'torch'"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1::2] == ["reused"] * 4


def test_touching_a_file_changes_nothing(home, setting, recipe, calls):
    run(recipe(), setting=setting)
    calls()
    os.utime(home / "b.jsonl", (time.time() + 9, time.time() + 9))
    run(recipe(), setting=setting)
    assert calls() == []
