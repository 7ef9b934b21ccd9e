"""Every mistake a recipe can hold, and what is said about it."""

import json
from pathlib import Path

import pytest

from accord.config.load import load_recipe, schema, stage_from_args
from accord.config.stages import PreferenceStage, PretrainStage, SFTStage
from accord.errors import AccordError

RECIPE = """\
name: quick
seed: 1
stages:
  tokenizer:
    kind: tokenizer
    data: [{source: a.txt}]
  base:
    kind: pretrain
    tokenizer: tokenizer
    steps: 10
    model: {hidden_size: 64, num_attention_heads: 4}
    data: [{source: a.txt}]
  sft: {kind: sft, from: base, steps: 3, lr: 1e-3, data: [{source: b.jsonl}]}
  dpo:
    kind: preference
    from: sft
    steps: 5
    beta: 0.1
    pairs: {kind: rated, gap: 1.5}
    data:
      - source: c.jsonl
  report: {kind: evaluate, policies: [sft, dpo], reference: sft, prompts: {texts: [hi]}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_good_recipe_is_read_whole(recipe):
    loaded = load_recipe(recipe)
    assert list(loaded.stages) == ["tokenizer", "base", "sft", "dpo", "report"]
    sft, dpo = loaded.stages["sft"], loaded.stages["dpo"]
    assert isinstance(sft, SFTStage)
    assert isinstance(dpo, PreferenceStage)
    assert (sft.from_, sft.lr, dpo.beta) == ("base", 1e-3, 0.1)


def test_overrides_reach_stages_lists_and_the_top(recipe):
    settings = ["dpo.beta=3e-1", "stages.sft.steps=7", "seed=2", "name=other"]
    settings += ["sft.data.0.fraction=0.5", "dpo.heldout.fraction=0.2", "dpo.betas=[0.8, 0.9]"]
    loaded = load_recipe(recipe, settings)
    dpo, sft = loaded.stages["dpo"], loaded.stages["sft"]
    assert (loaded.name, loaded.seed) == ("other", 2)
    assert isinstance(dpo, PreferenceStage)
    assert isinstance(sft, SFTStage)
    assert (dpo.beta, dpo.heldout.fraction, dpo.betas) == (0.3, 0.2, (0.8, 0.9))
    assert (sft.steps, sft.data[0].fraction) == (7, 0.5)


def test_the_last_override_wins(recipe):
    dpo = load_recipe(recipe, ["dpo.beta=0.2", "dpo.beta=0.4"]).stages["dpo"]
    assert isinstance(dpo, PreferenceStage)
    assert dpo.beta == 0.4


MISTAKES = [
    # setting, what, where, fix
    ("dpo.betaa=1", "unknown key 'betaa'", "stages.dpo.betaa", "did you mean 'beta'?"),
    ("dop.beta=1", "neither a stage nor a key", "override 'dop.beta=1'", "did you mean 'dpo'?"),
    ("sead=1", "neither a stage nor a key", "override 'sead=1'", "did you mean 'seed'?"),
    ("stages.dop.beta=1", "'kind' is missing", "stages.dop", "known: evaluate"),
    ("dpo.beta=x", "beta is 'x'", "stages.dpo.beta", "expected a number above 0"),
    ("dpo.beta=-1", "beta is -1", "stages.dpo.beta", "expected a number above 0"),
    ("dpo.beta='0.3'", "beta is '0.3'", "stages.dpo.beta", "expected a number above 0"),
    ("dpo.label_smoothing=0.5", "is 0.5", "label_smoothing", "at least 0 and below 0.5"),
    ("dpo.lr=.inf", "lr is inf", "stages.dpo.lr", "give a number"),
    ("dpo.compile=1", "compile is 1", "stages.dpo.compile", "expected true or false"),
    ("sft.steps=1.5", "steps is 1.5", "stages.sft.steps", "expected a whole number above 0"),
    ("sft.steps=true", "steps is true", "stages.sft.steps", "expected a whole number above 0"),
    ("sft.steps=", "no length is given", "stages.sft", "give one of steps, epochs"),
    ("sft.optimizer=mun", "optimizer is 'mun'", "sft.optimizer", "did you mean 'muon'?"),
    ("sft.data=[]", "data is a list of 0", "stages.sft.data", "with at least one item"),
    ("sft.data=b.jsonl", "data is 'b.jsonl'", "stages.sft.data", "a list of mappings"),
    ("sft.data.0.sorce=b", "unknown key 'sorce'", "data.0.sorce", "did you mean 'source'?"),
    ("sft.data.3.source=b", "there is no item 3", "override", "numbered from 0"),
    ("sft.data.x.source=b", "'x' is not a number of an item", "override", "from 0 to 0"),
    ("dpo.betas=[0.9]", "'item 1 of betas' is missing", "stages.dpo.betas.1", "give a number"),
    ("dpo.beta.x=1", "'stages.dpo.beta' is a single value", "override", "set it whole"),
    ("dpo=3", "dpo is 3", "stages.dpo", "a mapping with kind: tokenizer or pretrain"),
    ("dpo.kind=dpo", "unknown kind 'dpo'", "stages.dpo.kind", "did you mean 'preference'?"),
    ("dpo.kind=sfft", "unknown kind 'sfft'", "stages.dpo.kind", "did you mean 'sft'?"),
    ("dpo.pairs.kind=ratedd", "unknown kind 'ratedd'", "pairs.kind", "did you mean 'rated'?"),
    ("dpo.pairs.gpa=2", "unknown key 'gpa'", "stages.dpo.pairs.gpa", "did you mean 'gap'?"),
    (
        "dpo.pairs={gap: 1}",
        "'kind' is missing",
        "stages.dpo.pairs",
        "known: judged, rated, sampled",
    ),
    ("dpo.from=sfft", "neither a stage nor a folder", "stages.dpo.from", "did you mean 'sft'?"),
    ("dpo.from=a/b", "there is no folder 'a/b'", "stages.dpo.from", "hub:a/b"),
    ("dpo.from=recipe.yaml", "is a file, not a folder", "stages.dpo.from", ""),
    ("dpo.from=", "from is empty", "stages.dpo.from", "expected text"),
    ("report.reference=tokenizer", "a model is needed", "report.reference", "name a stage"),
    ("report.policies=[sft, dop]", "'dop' is neither", "policies.1", "did you mean 'dpo'?"),
    ("dpo.from=report", "nothing starts from it", "stages.dpo.from", "makes a model"),
    ("report.prompts={count: 3}", "no prompts are given", "stages.report.prompts", "give texts"),
    ("report.prompts.texts=[1984]", "item 0 of texts is 1984", "texts.0", "put it in quotes"),
    ("base.model.hiden_size=3", "unknown key 'hiden_size'", "base.model.hiden_size", "hidden_size"),
    ("base.model.hidden_size=30", "not a multiple of num_att", "base.model", "set head_dim"),
    ("base.model.preset=lama", "unknown preset 'lama'", "base.model", "did you mean 'llama'?"),
    ("base.model.vocab_size=9", "vocab_size follows the tok", "base.model", "delete this key"),
    ("base.model.position=ropee", "is 'ropee'", "base.model.position", "did you mean 'rope'?"),
    ("base.tokenizer=", "give tokenizer (train from scratch)", "stages.base", ""),
    ("name=a/b", "'a/b' is not a name", "name", "letters, digits"),
    ("stages.a b={kind: sft}", "'a b' is not a name", "stages.a b", "letters, digits"),
    ("stages=", "stages is empty", "stages", "with at least one item"),
    ("beta", "a setting is written key=value", "override 'beta'", "dpo.beta=0.3"),
    ("dpo.beta=[1", "not valid YAML", "override 'dpo.beta=[1'", ""),
]


@pytest.mark.parametrize(("setting", "what", "where", "fix"), MISTAKES)
def test_a_mistake_is_named_placed_and_mended(recipe, setting, what, where, fix):
    with pytest.raises(AccordError) as caught:
        load_recipe(recipe, [setting])
    text = str(caught.value)
    assert what in text
    assert where in text
    assert fix in text
    assert "pydantic" not in text
    assert "Value error" not in text


def test_the_file_and_the_line_are_named(recipe):
    recipe.write_text(RECIPE.replace("    beta: 0.1", "    beta: high"))
    with pytest.raises(AccordError) as caught:
        load_recipe(recipe)
    assert caught.value.where == f"{recipe}:18, stages.dpo.beta"


def test_one_message_for_each_mistake_and_no_more(recipe):
    settings = ["base.tokenizer=", "dpo.beta=x", "dpo.gpa=1", "sft.data.0.sorce=c"]
    with pytest.raises(AccordError) as caught:
        load_recipe(recipe, settings)
    text = str(caught.value)
    assert text.startswith(f"4 mistakes in {recipe}")
    assert [line[:2] for line in text.splitlines() if line[0].isdigit()][1:] == [
        "1.", "2.", "3.", "4.",
    ]  # fmt: skip


def test_a_cycle_is_refused_by_name(recipe):
    with pytest.raises(AccordError, match="start from one another") as caught:
        load_recipe(recipe, ["sft.from=dpo"])
    assert "sft" in caught.value.what
    assert "dpo" in caught.value.what
    with pytest.raises(AccordError, match="sft <- sft"):
        load_recipe(recipe, ["sft.from=sft"])


def test_an_input_may_be_a_folder_or_of_the_hub(recipe, tmp_path):
    (tmp_path / "gpt2").mkdir()
    assert load_recipe(recipe, ["sft.from=gpt2"]).stages["sft"].inputs() == ("gpt2",)
    assert load_recipe(recipe, ["sft.from=hub:a/b"]).stages["sft"].inputs() == ("hub:a/b",)


def test_a_missing_file_suggests_its_neighbour(recipe):
    with pytest.raises(AccordError, match=r"did you mean 'recipe\.yaml'"):
        load_recipe(recipe.with_name("recipes.yaml"))


def test_settings_of_one_stage(recipe):
    stage = stage_from_args(
        "preference",
        {"from": "hub:a/b", "data": [{"source": "p.jsonl"}], "epochs": 1},
        ["beta=0.3"],
    )
    assert isinstance(stage, PreferenceStage)
    assert (stage.beta, stage.from_, stage.epochs) == (0.3, "hub:a/b", 1)


def test_settings_of_one_stage_are_checked(recipe):
    given = {"from": "hub:a/b", "data": [{"source": "p.jsonl"}], "epochs": 1}
    for changed, settings, said in (
        (given, ["bta=0.3"], "did you mean 'beta'?"),
        ({**given, "from": "nowhere"}, [], "neither a stage nor a folder"),
        ({**given, "kind": "sft"}, [], "settings of kind 'sft'"),
        ({**given, "stages": {}}, [], "this is a whole recipe"),
        ({"data": given["data"]}, [], "'from' is missing"),
    ):
        with pytest.raises(AccordError) as caught:
            stage_from_args("preference", changed, settings)
        assert said in str(caught.value)


def test_schema_holds_every_kind_under_the_keys_of_the_file():
    text = json.loads(json.dumps(schema()))
    (stages,) = text["properties"]["stages"]["patternProperties"].values()
    kinds = set(stages["discriminator"]["mapping"])
    assert kinds == {
        *("tokenizer", "pretrain", "sft", "reward", "preference"),
        *("ppo", "grpo", "online", "evaluate"),
    }
    sft = text["$defs"]["SFTStage"]
    assert {"from", "data"} <= set(sft["required"])
    assert sft["additionalProperties"] is False
    assert sft["properties"]["lr"]["description"]


def test_a_resolved_stage_reads_back_as_itself(recipe):
    for stage in load_recipe(recipe).stages.values():
        data = stage.model_dump(mode="json", by_alias=True)
        assert stage_from_args(stage.kind, _outside(data)) == _renamed(stage)


def _outside(data: dict) -> dict:
    """Inputs as hub names, since a single stage has no recipe around it."""
    data = dict(data)
    for key in ("from", "tokenizer", "reference"):
        if data.get(key):
            data[key] = "hub:a/" + data[key]
    if "policies" in data:
        data["policies"] = ["hub:a/" + name for name in data["policies"]]
    return data


def _renamed(stage):
    return type(stage).model_validate(_outside(stage.model_dump(by_alias=True)))


def test_pretraining_needs_an_origin():
    with pytest.raises(AccordError, match="give tokenizer"):
        stage_from_args("pretrain", {"data": [{"source": "a.txt"}], "steps": 1})
    assert isinstance(
        stage_from_args("pretrain", {"data": [{"source": "a"}], "steps": 1, "from": "hub:a/b"}),
        PretrainStage,
    )


def test_the_names_of_scorers_are_those_that_there_are():
    from accord.config.stages import SCORERS
    from accord.evaluation import scorers

    assert set(SCORERS) == set(scorers.SCORERS)
