"""Best-of-n: what it chooses, how far it can be from what it draws from, and where it stands."""

import math
from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from accord.config.stages import EvaluateStage
from accord.data.rows import TextRow
from accord.evaluation.best_of import KL, best_of, judges_of, kl_bound
from accord.evaluation.measure import evaluate
from accord.evaluation.protocol import fixed_prompts, sample_policy

IDS = [{"model": "ids"}]


def settings(**changes) -> EvaluateStage:
    return EvaluateStage.model_validate(
        {
            "policies": ["dpo"],
            "reference": "sft",
            "best_of": {"bo2": {"n": 2, "reward": IDS}, "bo5": {"n": 5, "reward": IDS}},
            "prompts": {"data": [{"source": "x.txt"}], "first_words": 2},
            "sampling": {"max_new_tokens": 8},
            "samples_per_prompt": 2,
            "scorers": ["length"],
            "rewards": {"ids": {"model": "ids"}},
            "bootstrap": 100,
            **changes,
        }
    )


def load_reward(name: str):
    """A reward that tells any two completions of random models apart."""
    assert name == "ids"
    return lambda answers: [float(sum(answer.ids)) for answer in answers]


@pytest.fixture(scope="module")
def policies(make_policy):
    return {"sft": make_policy("sft", 1), "dpo": make_policy("dpo", 2)}


@pytest.fixture(scope="module")
def prompts(policies):
    rows = [TextRow(f"Number {i} is a film") for i in range(6)]
    return fixed_prompts(settings().prompts, rows, policies["sft"])


def test_each_is_the_best_of_its_first_n_draws(policies, prompts):
    config = settings()
    found = best_of(config, policies["sft"], prompts, judges_of(config, load_reward), 7)
    drawn = sample_policy(policies["sft"], prompts, config.sampling, 10, 7)
    for place, (i, j) in enumerate(product(range(6), range(2))):
        group = drawn[10 * i + 5 * j : 10 * i + 5 * j + 5]
        for name, n in (("bo2", 2), ("bo5", 5)):
            sums = [sum(sample.ids) for sample in group[:n]]
            chosen = found[name][place]
            assert chosen == group[sums.index(max(sums))]
            assert sum(chosen.ids) > min(sums)


def test_terms_choose_together_by_their_weights(policies, prompts):
    terms = [{"function": "length"}, {"model": "ids", "weight": -2.0}]
    config = settings(best_of={"least": {"n": 4, "reward": terms}})
    (found,) = best_of(config, policies["sft"], prompts, judges_of(config, load_reward), 7).values()
    drawn = sample_policy(policies["sft"], prompts, config.sampling, 8, 7)
    totals = [sample.length - 2 * sum(sample.ids) for sample in drawn[:4]]
    assert found[0] == drawn[totals.index(max(totals))]


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_bound_is_the_kl_where_nothing_ties(n):
    """Brute force over m equally likely answers with different rewards.

    The best of n of them has P(k) = (k/m)^n - ((k-1)/m)^n; from m → ∞ the KL nears the bound, and
    for any m it stays below.
    """
    gaps = []
    for m in (10, 100, 10_000):
        rank = np.arange(1, m + 1)
        best = (rank / m) ** n - ((rank - 1) / m) ** n
        gaps.append(kl_bound(n) - float((best * np.log(best * m)).sum()))
    assert gaps == sorted(gaps, reverse=True) and 0 <= gaps[-1] < 1e-3
    assert kl_bound(2) == pytest.approx(math.log(2) - 0.5)


def test_it_counts_like_any_policy(policies, prompts):
    found = evaluate(settings(), prompts, policies.__getitem__, load_reward, [], seed=3)
    plain = settings(best_of={})
    without = evaluate(plain, prompts, policies.__getitem__, load_reward, [], seed=3)
    assert list(found["policies"]) == ["sft", "dpo", "bo2", "bo5"]
    for name in ("sft", "dpo"):
        assert found["policies"][name] == without["policies"][name]
    means = [found["policies"][p]["scores"]["ids"]["mean"] for p in ("sft", "bo2", "bo5")]
    assert means[0] < means[1] < means[2]
    assert [c["policy"] for c in found["comparisons"]] == [
        policy for policy in ("dpo", "bo2", "bo5") for _ in range(2)
    ]
    kl = found["policies"]["bo5"]["kl"]
    assert kl["mean"] == kl_bound(5) and kl["ci95"] == [kl["mean"]] * 2 and "log n" in kl["bound"]
    assert "bound" not in found["policies"]["dpo"]["kl"]
    statistics = found["policies"]["bo5"]["statistics"]
    drawn = found["policies"]["bo5"]["scores"]["length"]["mean"] + statistics["ended"]
    assert kl["per_token"] == pytest.approx(kl_bound(5) / drawn)
    assert found["protocol"]["best_of"]["bo2"] == {"n": 2, "reward": [{"model": "ids"}]}
    assert KL in found["protocol"]["kl"] and KL not in without["protocol"]["kl"]


def test_a_name_is_taken_once():
    with pytest.raises(ValidationError, match="best_of calls a policy 'dpo'"):
        settings(best_of={"dpo": {"n": 2, "reward": IDS}})


def test_reward_models_that_choose_are_inputs():
    config = settings(rewards={}, best_of={"bo": {"n": 2, "reward": [{"model": "rm"}]}})
    assert config.inputs() == ("sft", "dpo", "rm")
