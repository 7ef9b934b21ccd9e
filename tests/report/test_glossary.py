"""Plain words for what the report shows and what the stages log: all of it, and nothing else."""

import ast
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.config.model import ModelConfig
from accord.config.preference import PairLoss
from accord.config.train import TrainConfig
from accord.data.packing import Example, Response
from accord.evaluation.findings import (
    data,
    policies,
    preference,
    reward,
    rollouts,
    stability,
    start,
    updates,
)
from accord.evaluation.scorers import SCORERS
from accord.explain.keys import recipe_keys, stage_models
from accord.explain.losses import loss_names
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.objectives.labels import LabelLogps, LabelSettings, label_loss
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.policy import PolicySettings, policy_loss
from accord.objectives.preference import preference_loss
from accord.objectives.reward import prefix_error
from accord.report.glossary import KEYS, LABELLED, METRICS, SUBJECTS, explain, find, tooltip
from accord.report.glossary.entry import LOG, Entry, percent
from accord.report.glossary.losses import POLICY, PREFERENCE
from accord.stages.collector import common_figures
from accord.stages.rollouts import Group
from accord.train import current_ranks
from accord.train.routing import RouterLosses

ROOT = Path(__file__).resolve().parents[2]
RARE = {"skipped_rows", "spike_rows"}
"""Logged only with a step that was not finite."""

CHIEF = (
    "loss", "eval_loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy",
    "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen",
    "logps/rejected", "nll_loss", "log_odds_chosen", "log_odds_ratio", "pairs_made", "accuracy",
    "margin", "mean_reward", "ece", "length_correlation", "rating_mse", "objective/kl",
    "objective/entropy", "objective/scores", "objective/rlhf_reward", "objective/non_score_reward",
    "policy/approxkl_avg", "policy/clipfrac_avg", "policy/entropy_avg", "loss/policy_avg",
    "loss/value_avg", "val/ratio", "val/ratio_var", "val/clipfrac_avg", "critic/vf_explained_var",
    "kl_coef", "kl", "reward", "reward_std", "frac_reward_zero_std", "clip_ratio/low_mean",
    "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio", "completions/mean_length",
    "completions/min_length", "completions/max_length", "completions/clipped_ratio", "unique",
    "sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max",
    "tokens_per_second", "peak_memory_bytes", "bits_per_byte", "distinct_2", "fluency", "length",
    "ended", "copies", "win rate", "difference",
)  # fmt: skip
"""TRL's names in objectives.md, and what people look at besides."""


def meanings(names=None) -> list[Entry]:
    entries = {**METRICS, **LABELLED}
    return [m for name in names or entries for m in entries[name].meanings]


def test_every_scorer_and_statistic_is_explained(document):
    names = [*SCORERS, *document["policies"]["dpo"]["statistics"]]
    assert all(explain(name) for name in names)


def test_held_out_metrics_and_groups_are_explained_by_their_own_name():
    words = METRICS["rewards/margins"].what
    assert explain("eval_rewards/margins") == f"On held-out rows: {words}"
    assert explain("rewards/margins/source:hub:a/b") == f"On rows of the source hub:a/b: {words}"
    both = "eval_rewards/margins/language:ko"
    assert explain(both) == f"On held-out rows of the language ko: {words}"
    assert explain("no_such_metric") == explain("source:x") == ""


def test_labels_of_rewards_judges_and_losses_are_free():
    assert "judge" in explain("judges/python:own:taste/mean")
    assert "term of the reward" in explain("rewards/rm/mean")
    assert "before its weight" in explain("eval_loss/sigmoid")
    assert explain("loss/policy_avg") == METRICS["loss/policy_avg"].what


def test_a_tooltip_goes_on_with_ranges():
    assert tooltip("unique").splitlines()[0] == explain("unique")
    assert [line.split(":")[0] for line in tooltip("unique").splitlines()[1:]] == [
        "Healthy", "Otherwise", "Try",
    ]  # fmt: skip
    assert tooltip("fertility") == explain("fertility")
    assert tooltip("no_such_metric") == ""


def test_every_metric_of_the_report_is_explained(whole):
    metrics = {metric for found in whole["curves"].values() for metric in found}
    assert len(metrics) > 30
    assert [metric for metric in metrics if not explain(metric)] == []


def logged_by_stages(home: Path) -> dict[str, set[str]]:
    """Kind of stage to every name in its metrics.jsonl."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in home.glob("runs/tiny/*/accord/metrics.jsonl"):
        kind = json.loads(path.with_name("stage.json").read_text())["config"]["kind"]
        for line in path.read_text().splitlines():
            found[kind] |= set(json.loads(line))
    return found


def logged_elsewhere() -> dict[str, set[str]]:
    """What these kinds log under settings that the small recipe does not have."""
    ones = torch.full((2,), -1.0)
    pairs = PairLogps(ones, 2 * ones, ones, ones, -ones, -ones)
    token, sequence = torch.zeros(2), torch.tensor([0, 1])
    labels = LabelLogps(token, token, torch.tensor([True, False]), torch.ones(2))
    column = np.full(2, -1.0, np.float32)
    responses = (Response((7,), (True,)),) * 2
    # ppo with several completions a prompt
    group = Group(
        Example((1,), responses, "p"), ("end",) * 2, ("a", "b"), column, column, column, column,
        (0.0, 1.0), {}, {},
    )  # fmt: skip
    losses = preference_loss({"sigmoid": 1.0, "orpo": 1.0}, pairs, PairSettings()).metrics
    capped = policy_loss(token, token, token, sequence, 2, PolicySettings(loss_type="cispo"))
    more = {
        "preference": {*losses, *label_loss("kto", labels, LabelSettings(), 0.0).metrics},
        "online": set(losses),
        "grpo": set(capped.metrics),
        "reward": {*prefix_error(token, sequence, torch.zeros(2)).metrics, "pairs_per_second"},
        "ppo": set(common_figures([group])),
    }
    kinds = ("pretrain", "sft", *more)
    return {kind: more.get(kind, set()) | logged_by_routers() for kind in kinds}


def logged_by_routers() -> set[str]:
    """What a mixture of experts logs, whatever trains it."""
    shape = ModelConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=8, num_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    model = Decoder.init(shape, 1)
    routers = RouterLosses.of(model, TrainConfig(steps=1), current_ranks())
    assert routers is not None
    with routers.watched() as seen:
        model(torch.arange(4), torch.arange(4), Plan.dense(1, 4))
    _, metrics = routers.terms(seen, torch.tensor(4.0), 1.0)
    return {*metrics, *routers.figures()}


def test_what_the_stages_log_is_what_is_explained(finished):
    logged, more = logged_by_stages(finished), logged_elsewhere()
    assert set(logged) == {"pretrain", "sft", "reward", "preference", "ppo", "grpo", "online"}
    said = {
        (name, stage)
        for name, entry in {**METRICS, **LABELLED}.items()
        for meaning in entry.meanings
        if meaning.file == LOG and name not in RARE
        for stage in meaning.stages
    }
    seen = set()
    for kind in logged:
        for metric in logged[kind] | more.get(kind, set()):
            found = find(metric)
            assert found is not None, f"{kind} logs {metric}"
            seen.add((found.name, kind))
    assert seen - said == set()
    assert said - seen == set()


def test_figures_of_other_files_are_what_these_files_hold(finished, document):
    run = finished / "runs" / "tiny"
    kept = json.loads((run / "sft" / "accord" / "rows.json").read_text())
    held = json.loads((run / "sft" / "accord" / "heldout.json").read_text())
    ranked = json.loads((run / "reward" / "accord" / "heldout.json").read_text())
    measured = json.loads((run / "tokenizer" / "accord" / "tokenizer_report.json").read_text())
    templates = (ROOT / "src/accord/report/templates").glob("*.html.j2")
    terms = {t for f in templates for t in re.findall(r'term\("([^"]+)"', f.read_text())}
    known = terms | set(SCORERS) | set(document["policies"]["dpo"]["statistics"])
    for found in (kept, held, ranked, measured):
        known |= set(names(found))
    files = {name for name, e in METRICS.items() for m in e.meanings if m.file != LOG}
    assert files - known == set()


def names(value) -> list[str]:
    """Every key of a document."""
    if isinstance(value, list):
        return [name for item in value for name in names(item)]
    if isinstance(value, dict):
        return [*value, *(name for item in value.values() for name in names(item))]
    return []


def test_what_matters_has_all_four_parts():
    assert len(CHIEF) >= 50
    assert [name for name in CHIEF if not all(m.full for m in METRICS[name].meanings)] == []


def test_an_entry_is_one_sentence_and_has_stages():
    for name, entry in {**METRICS, **LABELLED}.items():
        for meaning in entry.meanings:
            assert meaning.stages, name
            assert meaning.what.endswith("."), name
            assert not re.search(r"[a-z)]\. [A-Z]", meaning.what), name
            parts = [meaning.healthy, meaning.bad, meaning.try_]
            assert all(parts) or not any(parts), name


def test_advice_is_on_keys_that_exist_and_leaves_what_they_are_to_their_docstring():
    assert set(KEYS) <= {f"{key.owner}.{key.name}" for key in recipe_keys()}
    for name, entry in KEYS.items():
        assert all((entry.healthy, entry.bad, entry.try_)), name
        assert not (entry.what or entry.formula or entry.stages or entry.also), name


def test_every_subject_says_something_of_its_own():
    told = [name for pair in SUBJECTS.values() for part in pair for name in part]
    assert len(told) == len(set(told)) == len(METRICS) + len(KEYS)


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        ("rewards/margins", [f"{preference.STILL_MARGIN:g}", f"{preference.MARGIN_LARGE:g}"]),
        ("rewards/chosen", [f"{preference.CHOSEN_FELL:g} nat",
                            percent(preference.CHOSEN_FELL_SHARE)]),
        ("rewards/accuracies", [percent(start.AT_ONCE), percent(start.ALL_RIGHT)]),
        ("loss", [f"{stability.LOSS_LOW:g}", percent(stability.RIGHT_HIGH)]),
        ("objective/kl", [f"{updates.KL_HIGH:g}", f"{updates.KL_RUNAWAY:g}",
                          f"{preference.STILL_KL:g}", f"{updates.OVER_TARGET:g} ×"]),
        ("val/ratio", [f"{updates.RATIO_OFF:g}"]),
        ("policy/clipfrac_avg", [percent(updates.CLIPPED_HIGH)]),
        ("clip_ratio/region_mean", [percent(updates.CLIPPED_HIGH)]),
        ("policy/entropy_avg", [percent(updates.ENTROPY_LEFT)]),
        ("sampling/sampling_logp_difference/mean", [f"{updates.SAMPLER_OFF:g}"]),
        ("unique", [percent(rollouts.UNIQUE_LOW), percent(rollouts.UNIQUE_LOST),
                    percent(rollouts.UNIQUE_FALL)]),
        ("frac_reward_zero_std", [percent(rollouts.ALIKE_HIGH), percent(rollouts.ALIKE_MOST)]),
        ("completions/mean_length", [percent(rollouts.LENGTH_MOVED)]),
        ("completions/clipped_ratio", [percent(rollouts.CUT_HIGH), percent(rollouts.CUT_MOST),
                                       percent(rollouts.NEVER_ENDS)]),
        ("ece", [percent(reward.CALIBRATION_OFF)]),
        ("length_correlation", [f"{reward.LENGTH_TIED:g}"]),
        ("eval_loss", [percent(data.OVERFIT)]),
        ("dropped", [percent(data.ROWS_LOST)]),
        ("truncated", [percent(data.ROWS_LOST)]),
        ("length", [percent(policies.LONGER), percent(policies.SHORTER)]),
        ("ended", [percent(policies.ENDED_FALL)]),
        ("distinct_2", [percent(policies.DIVERSITY_FALL), percent(policies.DIVERSITY_LOSS)]),
        ("fluency", [f"{policies.FLUENCY_FALL:g}", f"{policies.FLUENCY_LOSS:g}"]),
        ("copies", [percent(policies.COPIES_RISE)]),
    ],
)  # fmt: skip
def test_bounds_are_those_of_the_findings(metric, bounds):
    words = " ".join(m.healthy + " " + m.bad for m in METRICS[metric].meanings)
    assert [bound for bound in bounds if bound not in words] == []


def finding_names() -> set[str]:
    """The names of all findings, off the source of their checks."""
    found = set()
    for path in (ROOT / "src/accord/evaluation/findings").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                found |= {c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)}
    # rows_dropped, rows_truncated: the check makes the name of what was lost
    return {str(name) for name in found} | {"rows_dropped", "rows_truncated"}


def test_every_name_in_the_texts_is_a_name_of_something():
    keys = recipe_keys()
    known = {*METRICS, *finding_names(), *loss_names(), *stage_models()}
    known |= {word for key in keys for word in (key.name, *key.path.split("."), *key.choices)}
    known |= {word for name in METRICS for word in name.split("/")} | {f"eval_{n}" for n in METRICS}
    # of formulas and other projects' modules
    known |= {"r_w", "r_l", "reward_w", "reward_l", "n_b", "accuracy_b", "confidence_b", "q_proj",
              "v_proj", "policy_sampler"}  # fmt: skip
    entries = [*meanings(), *KEYS.values(), *PREFERENCE.values(), *POLICY.values()]
    texts = [w for e in entries for w in (e.what, e.healthy, e.bad, e.try_, e.formula)]
    used = {w for t in texts for w in re.findall(r"(?<![\wπVτ])[a-z]+(?:_[a-z0-9]+)+", t)}
    assert len(used) > 100
    assert used - known == set()


def test_every_loss_has_advice():
    assert set(PREFERENCE) | set(POLICY) == set(loss_names())
    assert set(PairLoss.__args__) < set(PREFERENCE)
    assert all(entry.full for entry in (*PREFERENCE.values(), *POLICY.values()))
