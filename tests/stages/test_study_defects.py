"""What the RLHF study that Accord reproduces got wrong in its methods: planted, and caught.

A check is a function that asserts what has to hold. It passes on the product and fails where the
mistake is put into it: a check that cannot fail would show nothing. docs/study-defects.md says
which test stands for which mistake.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from left import log, make_model, record

from accord.config.generate import SamplingConfig
from accord.config.model import ModelConfig
from accord.config.rl import PPOStage
from accord.data.packing import Example, Response
from accord.evaluation import measure
from accord.evaluation.study import document as study_document
from accord.evaluation.study.factors import factors
from accord.model.cache import KVCache, Step
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.objectives import policy as policy_objectives
from accord.objectives.advantages import group_advantages
from accord.objectives.policy import PolicySettings, policy_loss
from accord.rollout.engine import Engine
from accord.stages import ppo

# GRPO loss without its minus sign


def grpo(model: Path, **others: Any) -> dict[str, Any]:
    return {
        "kind": "grpo",
        "from": str(model),
        "data": [{"source": "reviews.tsv", "name": "reviews"}],
        "heldout": {"fraction": 0.2},
        "reward": [{"function": "python:left:letters"}],
        "rollout": {"first_words": 2, "batches": 1, "sampling": {"max_new_tokens": 2}},
        "num_generations": 8,
        "beta": 0.0,
        "batch_size": 4,
        "steps": 8,
        "max_length": 64,
        "lr": 3e-2,
        **others,
    }


def the_reward_rises(lines: list[dict[str, Any]]) -> None:
    rewards = [line["reward"] for line in lines]
    assert np.mean(rewards[-2:]) > np.mean(rewards[:2]) + 2  # letters of two tokens


def test_grpo_raises_its_reward(run, model_folder: Path, monkeypatch) -> None:
    the_reward_rises(log(run(grpo(model_folder), "right")))

    def without_minus(*given: Any) -> torch.Tensor:
        return -policy_objectives.clipped(*given)

    wrong = {k: replace(v, surrogate=without_minus) for k, v in policy_objectives.LOSSES.items()}
    monkeypatch.setattr(policy_objectives, "LOSSES", wrong)
    with pytest.raises(AssertionError):
        the_reward_rises(log(run(grpo(model_folder), "planted")))


# GRPO advantages broadcast (k,) x (k, 1)


def the_better_is_pushed_up(gradient_K: torch.Tensor) -> None:
    assert gradient_K[0] < 0 < gradient_K[1]  # of a loss: descending raises the first


def test_advantages_are_not_broadcast_into_nothing() -> None:
    """Over [k, k] products each row sums to the mean advantage, which is 0: no gradient."""
    rewards_GK = torch.tensor([[1.0, 0.0, 0.2, 0.4]], dtype=torch.float64)
    advantages_K = group_advantages(rewards_GK)[0].flatten()
    old_K = torch.full((4,), -1.0, dtype=torch.float64)
    sequence_K = torch.arange(4)

    logps_K = old_K.clone().requires_grad_()
    loss = policy_loss(logps_K, old_K, advantages_K, sequence_K, 4, PolicySettings())
    (gradient_K,) = torch.autograd.grad(loss.total, logps_K)
    the_better_is_pushed_up(gradient_K)

    logps_K = old_K.clone().requires_grad_()
    planted = -((logps_K - old_K).exp() * advantages_K[:, None]).mean()
    (gradient_K,) = torch.autograd.grad(planted, logps_K)
    assert gradient_K.abs().max() < 1e-12
    with pytest.raises(AssertionError):
        the_better_is_pushed_up(gradient_K)
    with pytest.raises(ValueError, match=r"one number a scored token; got .*\[4, 1\]"):
        policy_loss(logps_K, old_K, advantages_K[:, None], sequence_K, 4, PolicySettings())


# PPO without GAE


def drawn() -> Any:
    """One completion of three tokens that ended by itself, with the critic's values."""
    example = Example((1,), (Response((2, 3, 4), (True, True, True)),), "row")
    logps = np.full(3, -1.0, dtype=np.float32)
    return SimpleNamespace(
        example=example,
        lengths=[3],
        old_logps=logps,
        ref_logps=logps,
        scores=(1.0,),
        values=[np.array([0.5, 0.2, 0.4, 9.0], dtype=np.float32)],
        finished=("end",),
        support=None,
    )


def advantages_are_gae() -> None:
    # δ = (γ .2 - .5, γ .4 - .2, 1 - .4) and A_t = δ_t + γλ A_{t+1}, with γ = .9 and λ = .8.
    config = PPOStage.model_validate(
        {
            "kind": "ppo",
            "from": "x",
            "data": [{"source": "x"}],
            "reward": [{"function": "length"}],
            "steps": 1,
            "max_length": 64,
            "lr": 1e-3,
            "gamma": 0.9,
            "lam": 0.8,
            "whiten_advantages": False,
        },
        strict=False,
    )
    (row,), _ = ppo.Proximal(config).rows([drawn()])
    last = 0.6
    middle = 0.16 + 0.72 * last
    first = -0.32 + 0.72 * middle
    assert row.advantages.tolist() == pytest.approx([first, middle, last], abs=1e-6)


def test_ppo_estimates_advantages_by_gae(monkeypatch) -> None:
    advantages_are_gae()

    def score_less_value(rewards_S, values_S, lengths_R, bootstrap_R, gamma, lam):
        returns_S = rewards_S.sum().expand_as(rewards_S)
        return returns_S - values_S, returns_S

    monkeypatch.setattr(ppo, "gae", score_less_value)
    with pytest.raises(AssertionError):
        advantages_are_gae()


# KV cache that drops the current value vector


@torch.no_grad()
def cached_equals_uncached() -> None:
    config = ModelConfig(
        vocab_size=17,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model, ids = Decoder.init(config, 0), [3, 1, 4, 1, 5, 9, 2, 6]
    weight = model.head_weight_VD
    cache = KVCache(config, 1, len(ids), weight.dtype, weight.device)
    attend = cache.prefill([0], [3])
    model(torch.tensor(ids[:3]), attend.position_N, attend)
    for place in range(3, len(ids)):
        attend = cache.step([0])
        state = model(torch.tensor(ids[place : place + 1]), attend.position_N, attend)[0]
        seen = torch.tensor(ids[: place + 1])
        whole = model(seen, torch.arange(place + 1), Plan.dense(1, place + 1))[-1]
        torch.testing.assert_close(state, whole, atol=1e-5, rtol=0)


def test_the_cache_holds_the_current_value(monkeypatch) -> None:
    cached_equals_uncached()
    original = Step.__call__

    def drops(self: Step, layer: int, q: Any, k: Any, v: Any, window: int | None) -> Any:
        return original(self, layer, q, k, torch.zeros_like(v), window)

    monkeypatch.setattr(Step, "__call__", drops)
    with pytest.raises(AssertionError):
        cached_equals_uncached()


# Sampling settings that silently differ between roll-out and log


def settings_used(monkeypatch: pytest.MonkeyPatch) -> list[SamplingConfig]:
    used: list[SamplingConfig] = []
    original = Engine.generate

    def generate(self: Engine, prompts: Any, sampling: SamplingConfig, *others: Any) -> Any:
        used.append(sampling)
        return original(self, prompts, sampling, *others)

    monkeypatch.setattr(Engine, "generate", generate)
    return used


def evaluated(model_folder: Path, other: Path) -> dict[str, Any]:
    return {
        "kind": "evaluate",
        "reference": str(model_folder),
        "policies": [str(model_folder), str(other)],
        "prompts": {"texts": ["A warm", "A dull"]},
        "sampling": {"temperature": 0.7, "top_k": 50, "max_new_tokens": 4},
        "scorers": ["length"],
        "bootstrap": 20,
    }


def what_is_logged_was_used(used: list[SamplingConfig], logged: dict[str, Any]) -> None:
    """Samples of both policies as logged; beside them the KL's, at temperature 1 by definition."""
    shown = SamplingConfig.model_validate(logged)
    kl = SamplingConfig(max_new_tokens=shown.max_new_tokens)
    assert sorted(map(str, used)) == sorted(map(str, [shown, shown, kl]))


def test_the_evaluation_logs_the_sampling_it_used(
    run, model_folder: Path, tiny_data: Path, tmp_path: Path, monkeypatch
) -> None:
    texts = (tiny_data / "stories.jsonl").read_text().splitlines()
    given = evaluated(model_folder, make_model(tmp_path / "other", texts, seed=8))
    used = settings_used(monkeypatch)
    out = run(given, "right")
    what_is_logged_was_used(used, record(out, "evaluation.json")["protocol"]["sampling"])
    used.clear()
    original = measure.sample_policy

    def colder(policy: Any, prompts: Any, sampling: SamplingConfig, *others: Any) -> Any:
        return original(policy, prompts, sampling.model_copy(update={"top_k": 20}), *others)

    monkeypatch.setattr(measure, "sample_policy", colder)
    out = run(given, "planted")
    with pytest.raises(AssertionError):
        what_is_logged_was_used(used, record(out, "evaluation.json")["protocol"]["sampling"])


def drawn_as_updated(lines: list[dict[str, Any]]) -> None:
    differences = [line["sampling/sampling_logp_difference/max"] for line in lines]
    assert max(differences) < 1e-4


def test_a_rollout_is_drawn_as_its_update_believes(run, model_folder: Path, monkeypatch) -> None:
    sampling = {"max_new_tokens": 4, "temperature": 0.7}
    rollout = {"first_words": 2, "batches": 2, "sampling": sampling}
    given = grpo(model_folder, steps=2, rollout=rollout)
    drawn_as_updated(log(run(given, "right"))[:1])
    original = Engine.generate

    def hotter(self: Engine, prompts: Any, sampling: SamplingConfig, *others: Any) -> Any:
        return original(self, prompts, sampling.model_copy(update={"temperature": 1.0}), *others)

    monkeypatch.setattr(Engine, "generate", hotter)
    with pytest.raises(AssertionError):
        drawn_as_updated(log(run(given, "planted"))[:1])


# Ranks sorted wrongly


def the_highest_is_first() -> None:
    values_KP = np.array([[10.0, 1.0], [30.0, 3.0], [20.0, 2.0]])
    found = study_document.ranks(values_KP).T.tolist()
    assert found == [[3, 1, 2], [3, 1, 2]]


def test_ranks_put_the_highest_first(monkeypatch) -> None:
    the_highest_is_first()
    for wrong in (
        lambda v: np.argsort(-v, axis=0) + 1.0,  # the order that sorts is no ranking
        lambda v: v.argsort(axis=0).argsort(axis=0) + 1.0,  # the lowest first
    ):
        monkeypatch.setattr(study_document, "ranks", wrong)
        with pytest.raises(AssertionError):
            the_highest_is_first()


# "+3.43 causal gain" from sampling changes

PHASE_1 = {
    "stages.sft.kind": "sft",
    "stages.grpo.kind": "grpo",
    "stages.grpo.from": "sft",
    "stages.grpo.num_generations": 4,
    "stages.report.kind": "evaluate",
    "stages.report.reference": "sft",
    "stages.report.policies": ["sft", "grpo"],
    "stages.report.sampling": {"temperature": 0.7, "top_k": 50, "max_new_tokens": 64},
}


def no_effect_of_training(before: dict[str, Any], after: dict[str, Any]) -> None:
    contrast = factors({"before": before, "after": after}, "grpo", "length")["before", "after"]
    assert contrast.verdict == "confounded"
    assert "cannot be called an effect of training" in contrast.sentence


def test_a_gain_with_other_sampling_is_no_effect_of_training() -> None:
    after = PHASE_1 | {"stages.grpo.num_generations": 8}
    after["stages.report.sampling"] = {"temperature": 0.3, "top_k": 20, "max_new_tokens": 96}
    no_effect_of_training(PHASE_1, after)
    # a log that leaves the sampling out sees one key of training, and nothing else
    blind = [{k: v for k, v in s.items() if "sampling" not in k} for s in (PHASE_1, after)]
    with pytest.raises(AssertionError):
        no_effect_of_training(*blind)
