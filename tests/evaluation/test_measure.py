"""The whole evaluation with tiny models: what it says agrees with what was drawn."""

import json

import numpy as np
import pytest

from accord.config.stages import EvaluateStage
from accord.data.rows import TextRow
from accord.errors import AccordError
from accord.evaluation.likelihood import Policy
from accord.evaluation.measure import evaluate
from accord.evaluation.protocol import fixed_prompts
from accord.text.tokenizer import Tokenizer


def settings(**changes) -> EvaluateStage:
    return EvaluateStage.model_validate(
        {
            "policies": ["sft", "dpo"],
            "reference": "sft",
            "prompts": {"data": [{"source": "x.txt"}], "first_words": 2},
            "sampling": {"max_new_tokens": 8},
            "samples_per_prompt": 2,
            "scorers": ["vader", "length", "fluency"],
            "bootstrap": 200,
            "shown": 3,
            **changes,
        }
    )


def no_models(name: str):
    raise AssertionError(f"the reward model {name} was asked for")


@pytest.fixture(scope="module")
def policies(make_policy):
    return {"sft": make_policy("sft", 1), "dpo": make_policy("dpo", 2)}


@pytest.fixture(scope="module")
def prompts(policies):
    rows = [TextRow(f"Number {i} is a film") for i in range(6)]
    return fixed_prompts(settings().prompts, rows, policies["sft"])


@pytest.fixture(scope="module")
def found(policies, prompts):
    return evaluate(settings(), prompts, policies.__getitem__, no_models, [], seed=3)


def test_same_seed_same_numbers(found, policies, prompts):
    again = evaluate(settings(), prompts, policies.__getitem__, no_models, [], seed=3)
    assert json.dumps(found) == json.dumps(again)
    other = evaluate(settings(), prompts, policies.__getitem__, no_models, [], seed=4)
    assert other["samples"] != found["samples"]


def test_means_are_means_of_what_every_prompt_shows(found):
    for name, policy in found["policies"].items():
        for scorer, score in policy["scores"].items():
            shown = [row["policies"][name]["scores"][scorer] for row in found["samples"]]
            assert score["mean"] == pytest.approx(np.mean(shown))
            assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]
            assert score["n"] == 6


def test_differences_are_differences_of_means(found):
    assert [(r["policy"], r["scorer"]) for r in found["comparisons"]] == [
        ("dpo", "vader"),
        ("dpo", "length"),
        ("dpo", "fluency"),
    ]
    for row in found["comparisons"]:
        ours, theirs = (
            found["policies"][p]["scores"][row["scorer"]]["mean"] for p in ("dpo", "sft")
        )
        assert row["difference"] == pytest.approx(ours - theirs)
        assert 0 <= row["win_rate_ci95"][0] <= row["win_rate"] <= row["win_rate_ci95"][1] <= 1


def test_kl_of_the_reference_is_zero_and_of_another_positive(found):
    assert found["policies"]["sft"]["kl"]["mean"] == 0.0
    kl = found["policies"]["dpo"]["kl"]
    assert kl["mean"] > kl["per_token"] > 0 and kl["ci95"][0] > 0


def test_histograms_count_every_completion(found):
    for histogram in found["histograms"].values():
        assert {sum(counts) for counts in histogram["counts"].values()} == {12}


def test_copies_only_where_a_corpus_was_named(found, policies, prompts):
    assert "copies" not in found["policies"]["sft"]["statistics"]
    named = settings(copies_from=[{"source": "x.txt"}], scorers=["length"])
    with_copies = evaluate(named, prompts, policies.__getitem__, no_models, ["a text"], seed=3)
    assert with_copies["policies"]["sft"]["statistics"]["copies"] == 0.0
    assert "positive" not in with_copies["policies"]["sft"]["statistics"]


def test_a_reference_outside_the_policies_is_measured_too(policies, prompts):
    found = evaluate(
        settings(policies=["dpo"], scorers=["length"]),
        prompts,
        policies.__getitem__,
        no_models,
        [],
        seed=3,
    )
    assert list(found["policies"]) == ["sft", "dpo"]


def test_a_wrong_scorer_is_told_before_anything_is_sampled(policies, prompts):
    asked = []

    def load(name: str) -> Policy:
        asked.append(name)
        return policies[name]

    with pytest.raises(AccordError, match="no scorer 'lenght'"):
        evaluate(settings(scorers=["vader", "lenght"]), prompts, load, no_models, [], seed=3)
    assert asked == ["sft"]


def test_another_tokenizer_is_refused(policies, prompts):
    other = Tokenizer.train(["quite other text"], vocab_size=262)
    strange = {**policies, "dpo": Policy("dpo", policies["dpo"].model, other)}
    with pytest.raises(AccordError, match="another tokenizer"):
        evaluate(settings(), prompts, strange.__getitem__, no_models, [], seed=3)


def test_another_chat_template_is_not_another_tokenizer(policies, prompts):
    templated = policies["dpo"].tokenizer.with_chat_template("alpaca")
    dpo = Policy("dpo", policies["dpo"].model, templated)
    both = {**policies, "dpo": dpo}
    found = evaluate(settings(scorers=["length"]), prompts, both.__getitem__, no_models, [], seed=3)
    assert list(found["policies"]) == ["sft", "dpo"]


def test_rewards_are_scorers_by_the_names_they_are_given(policies, prompts):
    loaded = []

    def load_reward(name: str):
        loaded.append(name)
        return lambda answers: [10.0 * answer.tokens for answer in answers]

    rewards = {
        "long": {"model": "rm", "weight": 3.0},
        "word": {"function": "regex", "options": {"pattern": "film"}},
    }
    found = evaluate(
        settings(scorers=["length"], rewards=rewards),
        prompts,
        policies.__getitem__,
        load_reward,
        [],
        seed=3,
    )
    assert loaded == ["rm"]
    names = ["length", "long", "word"]
    assert list(found["histograms"]) == found["protocol"]["scorers"] == names
    assert found["protocol"]["rewards"]["long"] == {"model": "rm"}
    assert [row["scorer"] for row in found["comparisons"]] == names
    for policy in found["policies"].values():
        scores = policy["scores"]
        assert scores["long"]["mean"] == pytest.approx(10 * scores["length"]["mean"])


def test_a_reward_has_a_name_of_its_own(policies, prompts):
    taken = settings(scorers=["fluency"], rewards={"length": {"function": "length"}})
    with pytest.raises(AccordError, match="A reward is called 'length', as a scorer is"):
        evaluate(taken, prompts, policies.__getitem__, no_models, [], seed=3)
