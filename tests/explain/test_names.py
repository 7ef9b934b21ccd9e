"""What a name means, and what a misspelt one is answered with."""

import subprocess
import sys

import pytest

from accord.config import preference as settings
from accord.errors import AccordError
from accord.explain.losses import loss_names
from accord.explain.names import known_names, meanings
from accord.objectives.labels import LABEL_LOSSES
from accord.objectives.policy import LOSSES as POLICIES
from accord.objectives.preference import LOSSES
from accord.pipeline.single import DEFAULTS


def only(name: str):
    [meaning] = meanings(name)
    return meaning


def test_a_metric():
    margins = only("rewards/margins")
    assert (margins.sort, margins.stages) == ("metric", ("preference", "online"))
    assert "beta included" in margins.what and margins.file == "accord/metrics.jsonl"
    grouped = only("eval_rewards/accuracies/source:hh_rlhf")
    assert grouped.name == "rewards/accuracies"
    assert grouped.rows == "held-out rows of the source hh_rlhf"


def test_a_key_has_a_meaning_for_each_that_defines_it():
    first, second = meanings("beta")
    assert (first.stages, second.stages) == (("preference", "online"), ("grpo",))
    assert first.default == "0.1" and second.default == "0"
    assert first.healthy != second.healthy


@pytest.mark.parametrize("name", ["dpo.beta", "preference.beta", "stages.dpo.beta"])
def test_the_kind_of_stage_before_the_dot_chooses(name):
    assert only(name).stages == ("preference",)


def test_a_path_is_found_by_its_end():
    assert only("lora.r").places == ("lora.r",)
    rollouts = only("rollout.sampling.temperature")
    assert rollouts.stages == ("ppo", "grpo", "online")
    assert "pairs.rejected_sampling.temperature" in only("temperature").places
    assert only("ppo.temperature").places == ("rollout.sampling.temperature",)


def test_metric_and_key_of_one_name():
    sorts = {m.sort for m in meanings("ppo.kl_coef")}
    assert sorts == {"metric", "recipe key"}
    assert [m.sort for m in meanings("grpo.loss")] == ["metric", "metric"]


def test_loss_has_a_meaning_by_stage():
    found = [m for m in meanings("loss") if m.sort == "metric"]
    assert {s for m in found[1:] for s in m.stages} == set(found[0].stages)
    assert len(found) == 6


def test_defaults_of_commands_stand_beside_the_recipes():
    lr = only("lr")
    assert lr.default.startswith("0.0003 (") and "1e-6 in accord dpo" in lr.default
    assert DEFAULTS["preference"]["lr"] == 1e-6
    assert only("dpo.lr").default == "0.0003 (1e-6 in accord dpo)"
    # a command that sets what the recipe has anyway is not named
    assert "pretrain" not in lr.default


@pytest.mark.parametrize("name", loss_names())
def test_a_loss_has_its_row_of_the_table(name):
    rows = {**LOSSES, **LABEL_LOSSES}
    told = {(m.formula, m.source) for m in meanings(name) if m.sort == "loss"}
    wanted = {(t[name].formula, t[name].paper) for t in (rows, POLICIES) if name in t}
    assert told == wanted and told


def test_a_loss_says_what_reaches_it():
    reach = {name: meanings(name)[-1].takes for name in ("sigmoid", "simpo", "aot", "kto", "cispo")}
    assert "margin_cap" in reach["sigmoid"] and "needs a reference" in reach["sigmoid"]
    assert "simpo_gamma" in reach["simpo"] and "needs no reference" in reach["simpo"]
    assert "must not be split" in reach["aot"]
    assert "desirable_weight" in reach["kto"]
    assert reach["cispo"] == "tuned by epsilon_high"
    for name in settings.SMOOTHED:
        assert "label_smoothing" in meanings(name)[-1].takes


def test_a_kind_of_stage_and_other_tools_words_for_it():
    assert {m.sort for m in meanings("grpo")} == {"kind of stage", "loss"}
    assert only("dpo").name == "preference"


def test_a_value_is_explained_by_the_keys_that_take_it():
    assert [m.name for m in meanings("wsd")] == ["schedule"]
    assert {m.name for m in meanings("js_divergence")} == {"f_divergence_type"}


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("rewards/margin", "rewards/margins"), ("bta", "beta"), ("dpo.bta", "dpo.beta"),
     ("simp", "simpo"), ("stages.ppo.kl_cof", "stages.ppo.kl_coef"), ("sigmod", "sigmoid")],
)  # fmt: skip
def test_a_typo_gets_a_suggestion_that_is_found(asked, meant):
    with pytest.raises(AccordError) as raised:
        meanings(asked)
    assert raised.value.fix == f"did you mean '{meant}'?"
    assert meanings(meant)


def test_what_is_like_nothing_leads_to_the_list():
    with pytest.raises(AccordError, match="accord explain"):
        meanings("xyzzyq")


def test_every_known_name_is_found():
    assert len(known_names()) > 300
    assert [name for name in known_names() if not meanings(name)] == []


def test_a_key_of_another_stage_is_not_found_in_this():
    with pytest.raises(AccordError):
        meanings("sft.kl_coef")


def test_no_metric_or_key_needs_torch():
    code = (
        "import sys\nfrom accord.explain.names import meanings\n"
        "for name in ('beta', 'rewards/margins', 'ppo'): meanings(name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
