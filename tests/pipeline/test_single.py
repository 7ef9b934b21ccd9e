"""Defaults give way to a file, a file to options, options to key=value."""

import pytest

from accord.config.stages import EvaluateStage, PreferenceStage, SFTStage
from accord.errors import AccordError
from accord.pipeline.single import DEFAULTS, evaluation, sampling_settings, stage_settings

GIVEN = {"from": "hub:a/b", "data": [{"source": "x.jsonl"}]}


def dpo(*settings, file=None, given=GIVEN):
    stage = stage_settings("preference", given, settings, file)
    assert isinstance(stage, PreferenceStage)
    return stage


def test_defaults_are_what_the_table_says():
    stage = dpo()
    for key, value in DEFAULTS["preference"].items():
        assert getattr(stage, key) == value


def test_each_layer_covers_the_one_below(tmp_path):
    file = tmp_path / "dpo.yaml"
    file.write_text("lr: 0.5\nbeta: 0.7\nfrom: hub:c/d\nbatch_size: 3\n")
    stage = dpo("beta=0.9", file=file)
    assert (stage.lr, stage.beta, stage.from_, stage.batch_size) == (0.5, 0.9, "hub:a/b", 3)
    assert stage.epochs == DEFAULTS["preference"]["epochs"]


def test_a_default_gives_way_to_its_rival(tmp_path):
    assert (dpo("steps=5").steps, dpo("steps=5").epochs) == (5, None)
    stage = dpo("warmup_steps=5")
    assert (stage.warmup_steps, stage.warmup_ratio) == (5, None)
    file = tmp_path / "dpo.yaml"
    file.write_text("steps: 4\n")
    assert (dpo(file=file).steps, dpo(file=file).epochs) == (4, None)


def test_a_mistake_in_the_file_keeps_its_line(tmp_path):
    file = tmp_path / "dpo.yaml"
    file.write_text("lr: 0.5\nbeta: none\n")
    with pytest.raises(AccordError) as caught:
        dpo(file=file)
    assert caught.value.where == f"{file}:2, beta"


def test_a_recipe_is_not_a_stage_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("name: x\nstages: {}\n")
    with pytest.raises(AccordError, match="this is a whole recipe"):
        dpo(file=file)


def test_the_first_model_is_the_reference():
    given = evaluation(["hub:a/b", "hub:c/d"], None, ["Hi"], [])
    stage = stage_settings("evaluate", given, ["sampling.temperature=0.7"])
    assert isinstance(stage, EvaluateStage)
    assert (stage.reference, stage.policies) == ("hub:a/b", ("hub:a/b", "hub:c/d"))
    assert stage.prompts.texts == ("Hi",)
    assert stage.sampling.temperature == 0.7


def test_sft_starts_from_the_folder_given(tmp_path):
    stage = stage_settings("sft", {**GIVEN, "from": str(tmp_path)})
    assert isinstance(stage, SFTStage)
    assert stage.from_ == str(tmp_path)


def test_sampling_settings_are_checked():
    assert sampling_settings(temperature=0, stop=["."]).stop == (".",)
    with pytest.raises(AccordError, match="did you mean 'top_p'"):
        sampling_settings(topp=0.5)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ('{"max_position_embeddings": 128}', 128),
        ('{"n_positions": 256}', 256),
        ('{"max_position_embeddings": 4096}', 1024),
        ("{}", 1024),
    ],
)
def test_the_default_length_is_one_the_model_can_read(tmp_path, config, length):
    (tmp_path / "config.json").write_text(config)
    given = {**GIVEN, "from": str(tmp_path)}
    assert dpo(given=given).max_length == length
    assert dpo("max_length=99", given=given).max_length == 99
