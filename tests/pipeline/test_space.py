"""The disk is looked at before the first stage begins."""

import shutil
from pathlib import Path

import pytest

from accord.config.load import load_recipe
from accord.errors import AccordError
from accord.pipeline.run import run
from accord.pipeline.space import FLOAT32, RECORDS, stage_bytes

RECIPE = Path(__file__).parents[2] / "examples" / "tiny.yaml"
HIDDEN, INNER, LAYERS, VOCABULARY = 32, 88, 2, 320
# attention, gated feed-forward and two norms a layer; last norm; tied embedding
WEIGHTS = LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * INNER + 2 * HIDDEN) + HIDDEN + VOCABULARY * HIDDEN


@pytest.mark.parametrize(
    ("stage", "change", "floats"),
    [
        ("tokenizer", [], 0),
        # a checkpoint is weights and two moments; one kept, one being written, and the result
        ("base", [], 2 * 3 * WEIGHTS + WEIGHTS),
        ("base", ["base.keep_last=3", "base.keep_steps=[7,9]"], 6 * 3 * WEIGHTS + WEIGHTS),
        ("sft", [], 2 * 3 * WEIGHTS + WEIGHTS),
        ("dpo", ["dpo.sync_ref_model=true"], 2 * 4 * WEIGHTS + WEIGHTS),
        ("ppo", [], 2 * 3 * 2 * WEIGHTS + 2 * WEIGHTS),  # policy and critic
        ("sft", ["sft.lora={r: 4}"], 2 * 3 * (WEIGHTS // 4) + WEIGHTS // 4),
        ("report", [], 0),
    ],
)
def test_a_stage_writes_its_checkpoints_and_its_result(
    stage: str, change: list[str], floats: int
) -> None:
    stages = load_recipe(RECIPE, change).stages
    assert stage_bytes(stage, stages) == RECORDS + FLOAT32 * floats


def free(monkeypatch: pytest.MonkeyPatch, place: Path, count: int) -> None:
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=count))


def test_a_run_that_will_not_fit_does_not_begin(home, setting, recipe, calls, monkeypatch) -> None:
    free(monkeypatch, home, 5_000_000)
    with pytest.raises(AccordError, match=r"5,000,000 bytes free, about \d+,\d+,\d+ needed"):
        run(recipe(), setting=setting)
    assert calls() == []


def test_what_stands_needs_no_more_room(home, setting, recipe, calls, monkeypatch) -> None:
    run(recipe(), setting=setting)
    calls()
    free(monkeypatch, home, 0)
    run(recipe(), setting=setting)
    assert calls() == []


def test_a_start_that_is_not_known_yet_is_left_out(home, recipe) -> None:
    stages = {"sft": recipe("sft.from=hub:owner/name").stages["sft"]}
    assert stage_bytes("sft", stages) == RECORDS
    (home / "empty").mkdir()
    stages = {"sft": recipe("sft.from=empty").stages["sft"]}
    assert stage_bytes("sft", stages) == RECORDS


def test_a_model_folder_counts_by_its_shape(finished: Path, home, recipe) -> None:
    folder = finished / "runs" / "tiny" / "base"
    stages = {"sft": recipe(f"sft.from={folder}").stages["sft"]}
    assert stage_bytes("sft", stages) == RECORDS + FLOAT32 * 7 * WEIGHTS
