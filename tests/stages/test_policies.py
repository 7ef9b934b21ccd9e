"""PPO, GRPO and online preference as stages: what they leave, what they log, what they refuse."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from left import log, record, weights, write_jsonl

from accord.checkpoint.folder import load_model
from accord.checkpoint.scorer_folder import load_scorer
from accord.errors import AccordError
from accord.text.tokenizer import Tokenizer

COMMON: dict[str, Any] = {
    "heldout": {"fraction": 0.2},
    "steps": 4,
    "batch_size": 4,
    "max_length": 64,
    "lr": 1e-3,
    "reward": [{"function": "python:left:letters", "weight": 0.1}],
    "judges": [{"function": "regex", "options": {"pattern": "e"}}],
}
ROLLOUT: dict[str, Any] = {"first_words": 2, "batches": 2, "sampling": {"max_new_tokens": 8}}
TIMED = ("tokens_per_second", "prompts_per_second", "peak_memory_bytes")
KINDS: dict[str, dict[str, Any]] = {
    "ppo": {"kl_target": 0.5, "kl_horizon": 40},
    "grpo": {"num_generations": 3, "beta": 0.1, "dynamic_sampling": 1},
    "online": {"num_generations": 3},
}


def settings(kind: str, model: Path, **others: Any) -> dict[str, Any]:
    data = [{"source": "reviews.tsv", "name": "reviews"}]
    rollout = ROLLOUT | others.pop("rollout", {})
    start = {"kind": kind, "from": str(model), "data": data, "rollout": rollout}
    return {**start, **COMMON, **KINDS[kind], **others}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_leaves_a_model_and_logs_its_rollouts(kind: str, model_folder: Path, run) -> None:
    out = run(settings(kind, model_folder))
    before, after = weights(model_folder), weights(out)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    lines = log(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    # two batches a roll-out: the figures stand where one was collected
    assert ["reward" in line for line in lines] == [True, False, True, False]
    first = lines[0]
    # the first roll-out is the reference's own
    assert first["objective/kl"] == pytest.approx(0.0, abs=1e-4)
    assert 0 <= first["judges/regex/mean"] <= 1
    assert first["rewards/python:left:letters/mean"] == pytest.approx(
        10 * first["reward"], rel=1e-5
    )
    # online preference takes log-probabilities of pairs alone, by the reference's path
    assert first.get("sampling/sampling_logp_difference/max", 0.0) < 1e-5
    assert ("objective/entropy" in first) == (kind != "online")
    assert record(out, "rows.json")["reviews"]["kept"]
    load_model(out)


def test_ppo_logs_what_its_rewards_are_made_of(model_folder: Path, run) -> None:
    lines = log(run(settings("ppo", model_folder, kl_coef=0.2)))
    first, later = lines[0], lines[2]
    for line in (first, later):
        assert line["objective/rlhf_reward"] == pytest.approx(
            line["objective/scores"] + line["objective/non_score_reward"]
        )
    assert first["val/ratio"] == pytest.approx(1.0, abs=1e-5)
    assert first["policy/approxkl_avg"] == pytest.approx(0.0, abs=1e-9)
    # KL 0 is below the target: the coefficient falls by the most it may, 0.2 * 8 / 40
    assert first["kl_coef"] == 0.2
    assert later["kl_coef"] == pytest.approx(0.2 * (1 - 0.2 * 8 / 40))
    assert {"loss/value_avg", "policy/entropy_avg", "critic/vf_explained_var"} <= first.keys()


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_the_critic_is_left_beside_the_policy(critic: str, model_folder: Path, run) -> None:
    out = run(settings("ppo", model_folder, critic=critic, missing_end_penalty=1.0))
    scorer = load_scorer(out / "accord" / "critic")
    assert scorer.score.weight.abs().sum() > 0
    own = load_model(out).state_dict()
    same = all(torch.equal(w, own[name]) for name, w in scorer.trunk.state_dict().items())
    assert same == (critic == "shared")
    lines = log(out)
    cut = lines[0]["completions/clipped_ratio"]
    expected = 0.1 * lines[0]["rewards/python:left:letters/mean"] - cut
    assert lines[0]["reward"] == pytest.approx(expected, rel=1e-5)


def test_a_bonus_keeps_the_entropy_up(model_folder: Path, run) -> None:
    flat = {"steps": 6, "lr": 1e-2, "max_grad_norm": None, "rollout": {"batches": 1}}
    ends = []
    for bonus in (0.0, 3.0):
        given = settings("ppo", model_folder, entropy_coef=bonus, **flat)
        ends.append(log(run(given, f"bonus-{bonus}"))[-1]["policy/entropy_avg"])
    assert ends[1] > ends[0] + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_leaves_the_same_bytes(kind: str, model_folder: Path, run) -> None:
    one = run(settings(kind, model_folder), "one")
    two = run(settings(kind, model_folder), "two")
    other = run(settings(kind, model_folder), "other", seed=2)
    files = [(folder / "model.safetensors").read_bytes() for folder in (one, two, other)]
    assert files[0] == files[1] != files[2]


def test_a_rollout_that_is_used_at_once_needs_no_second_look(model_folder: Path, run) -> None:
    """The policy that drew the tokens is the one that is updated: the same steps, rescored or not.

    In one step over the whole roll-out its ratios are 1 either way.
    """
    once = {"rollout": {"batches": 1}, "beta": 0.0, "steps": 2, "dynamic_sampling": 0}
    out = run(settings("grpo", model_folder, **once), "once")
    lines = log(out)
    assert all(line["val/ratio"] == 1 for line in lines)
    assert "objective/entropy" not in lines[0] and "kl" not in lines[0]
    # of four groups the reference scores one, for the log
    assert lines[0]["objective/kl"] == pytest.approx(0.0, abs=1e-4)
    looked = run(settings("grpo", model_folder, **(once | {"beta": 1e-12, "seed": 1})), "looked")
    ours, theirs = weights(out), weights(looked)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


SUPPORTS = [
    {"top_p": 0.8},
    {"top_k": 5, "temperature": 0.7},
    {"min_p": 0.05, "top_p": 0.9, "temperature": 1.3},
]


@pytest.mark.parametrize("sampling", SUPPORTS)
@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_rollout_and_update_agree_under_truncated_sampling(
    kind: str, sampling: dict[str, Any], model_folder: Path, run
) -> None:
    rollout = {"sampling": {"max_new_tokens": 8, **sampling}}
    lines = log(run(settings(kind, model_folder, rollout=rollout)))
    assert all(line["sampling/sampling_logp_difference/max"] < 1e-5 for line in lines[::2])
    assert lines[0]["val/ratio"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_masked_completions_carry_no_loss(loss_type: str, model_folder: Path, run) -> None:
    """An untrained model ends nothing within a token or two: every completion is cut off."""
    rollout = {"sampling": {"max_new_tokens": 2}}
    given = {"mask_truncated_completions": True, "steps": 7, "beta": 0.0}
    out = run(settings("grpo", model_folder, rollout=rollout, loss_type=loss_type, **given))
    lines = log(out)
    assert len(lines) == 7 and not any("skipped_rows" in line for line in lines)
    if all(line.get("completions/clipped_ratio", 1) == 1 for line in lines):
        before, after = weights(model_folder), weights(out)
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_critic_starts_from_a_reward_models_scores(model_folder: Path, run, tmp_path) -> None:
    pairs = [{"source": "preferences.jsonl", "name": "rows"}]
    kept = {key: COMMON[key] for key in ("heldout", "steps", "batch_size", "lr")}
    reward = {"kind": "reward", "from": str(model_folder), "data": pairs, "max_length": 128}
    folder = run({**reward, **kept, "baseline": False}, "reward")
    terms = [{"model": str(folder)}]
    out = run(settings("ppo", model_folder, critic_from=str(folder), reward=terms, lr=1e-9))
    before, after = load_scorer(folder), load_scorer(out / "accord" / "critic")
    assert torch.allclose(before.score.weight, after.score.weight, atol=1e-6)
    assert f"rewards/{folder}/mean" in log(out)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rollout": {"sampling": {"temperature": 0}}}, "every completion of a prompt is the same"),
        ({"rollout": {"sampling": {"repetition_penalty": 1.2}}}, "penalty on repetition"),
        ({"rollout": {"sampling": {"max_new_tokens": 64}}}, "No prompt leaves room"),
        ({"max_length": 100_000}, "more than the model's"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, said, model_folder: Path, run) -> None:
    with pytest.raises(AccordError) as caught:
        run(settings("grpo", model_folder, **change))
    assert said in str(caught.value)


def test_chat_prompts_are_answered_under_the_template(
    model_folder: Path, run, tmp_path: Path
) -> None:
    rows = [{"prompt": f"name a colour, please, number {i}"} for i in range(12)]
    file = write_jsonl(tmp_path / "prompts.jsonl", rows)
    data = [{"source": str(file)}]
    given = settings("grpo", model_folder, data=data, rollout={"first_words": None})
    given["rollout"].pop("first_words")
    out = run(given)
    assert json.loads((out / "accord" / "rows.json").read_text())
    assert Tokenizer.load(out).chat_template == Tokenizer.load(model_folder).chat_template


def cut_back(whole: Path, folder: Path, step: int) -> None:
    """The folder of a run that was killed when `step` steps were done."""
    shutil.copytree(whole, folder)
    for checkpoint in (folder / "accord" / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_at_every_step_in_the_same_bytes(
    kind: str, model_folder: Path, run, tmp_path: Path
) -> None:
    """Two passes of two batches a roll-out: most steps are in the middle of one."""
    given = {"steps": 7, "save_every": 1, "keep_last": 7, "rollout": {"iterations": 2}}
    given |= {"optimizer": "muon", "kl_stop": 1e-4} if kind == "grpo" else {}
    whole = run(settings(kind, model_folder, **given), "whole")
    lines = [{**line, **dict.fromkeys(TIMED)} for line in log(whole)]
    for step in range(1, 7):
        cut_back(whole, tmp_path / f"cut-{step}", step)
        again = run(settings(kind, model_folder, **given), f"cut-{step}")
        for file in sorted(whole.rglob("*.safetensors")):
            same = again / file.relative_to(whole)
            assert same.read_bytes() == file.read_bytes(), (step, file.name)
        assert [{**line, **dict.fromkeys(TIMED)} for line in log(again)] == lines, step
