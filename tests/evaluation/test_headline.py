"""The headline claims what was shown, for one policy and for several."""

from accord.evaluation.headline import headline


def policy(mean: float, kl: float) -> dict:
    return {
        "scores": {"vader": {"mean": mean, "ci95": [mean - 0.04, mean + 0.04], "n": 4}},
        "kl": {"mean": kl, "ci95": [kl, kl], "n": 4, "per_token": kl / 10},
    }


def document(**of_policies) -> dict:
    """What is known of policies: mean, interval of the difference, KL."""
    found = {
        "policies": {"sft": policy(0.23, 0.0)},
        "comparisons": [],
        "protocol": {"scorers": ["vader", "length"]},
        "findings": [],
    }
    for name, (mean, ci95, kl) in of_policies.items():
        found["policies"][name] = policy(mean, kl)
        row = {"policy": name, "reference": "sft", "ci95": ci95, "n": 4}
        row |= {"difference": mean - 0.23, "win_rate": 0.8, "win_rate_ci95": [0.7, 0.9]}
        found["comparisons"] += [{**row, "scorer": "length"}, {**row, "scorer": "vader"}]
    return found


def problem(**evidence: str) -> dict:
    return {"name": "collapse", "severity": "problem", "evidence": evidence}


def test_nothing_compared_gives_no_headline():
    assert headline(document()) == {}
    assert headline({"protocol": {}, "comparisons": []}) == {}


def test_one_policy():
    found = headline(document(dpo=(0.58, [0.28, 0.41], 5.4)))
    assert found["sentence"] == "dpo moved mean vader from 0.23 to 0.58 at 5.4 nats from sft."
    assert found["before"] == 0.23 and found["ci95"] == [0.28, 0.41]
    assert found["scorer"] == "vader" and len(found["lines"]) == 1


def test_no_effect_is_claimed_that_was_not_shown():
    found = headline(document(dpo=(0.58, [-0.02, 0.41], 5.4)))
    assert found["sentence"].startswith("dpo did not measurably move mean vader")


def test_headline_of_several_policies_names_the_highest_and_all_others():
    found = headline(
        document(
            dpo=(0.58, [0.28, 0.41], 5.4),
            ppo=(0.61, [0.31, 0.44], 6.2),
            grpo=(0.25, [-0.02, 0.06], 1.0),
            online=(0.1, [-0.2, -0.05], 2.0),
        ),
    )
    assert found["sentence"] == (
        "dpo and ppo raised mean vader from 0.23, ppo the highest, to 0.61 [0.57, 0.65] at "
        "6.2 nats from sft; online lowered it; grpo did not measurably move it."
    )
    assert found["policy"] == "ppo"
    assert [line["policy"] for line in found["lines"]] == ["dpo", "ppo", "grpo", "online"]
    assert [line["after"] for line in found["lines"]] == [0.58, 0.61, 0.25, 0.1]


def test_headline_prefers_a_policy_without_a_problem():
    found = document(dpo=(0.58, [0.28, 0.41], 5.4), grpo=(0.8, [0.5, 0.64], 20.0))
    found["findings"] = [problem(policy="grpo"), problem(stage="rm")]
    line = headline(found)
    assert line["policy"] == "dpo"
    assert line["sentence"] == (
        "dpo and grpo raised mean vader from 0.23, dpo the highest of those without a problem, to "
        "0.58 [0.54, 0.62] at 5.4 nats from sft. Problems were found in grpo."
    )
    assert line["lines"][1]["problems"] == ["collapse"]


def test_headline_where_one_or_none_of_several_rose():
    one = document(dpo=(0.58, [0.28, 0.41], 5.4), ppo=(0.2, [-0.1, 0.05], 1.0))
    assert headline(one)["sentence"] == (
        "dpo raised mean vader from 0.23 to 0.58 [0.54, 0.62] at 5.4 nats from sft; "
        "ppo did not measurably move it."
    )
    none = document(dpo=(0.25, [-0.1, 0.14], 5.4), ppo=(0.2, [-0.1, 0.05], 1.0))
    assert headline(none)["sentence"] == ("No policy measurably raised mean vader from 0.23.")
