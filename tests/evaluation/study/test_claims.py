"""Claims: numbers, correction, words, and what they are put down to."""

import numpy as np
import pytest
from made_study import PHASE_5, cell, settings

from accord.errors import AccordError
from accord.evaluation.study.claims import FAMILIES, claims, estimate
from accord.evaluation.study.crossed import crossed
from accord.evaluation.study.holm import holm
from accord.evaluation.study.summary import summary
from accord.evaluation.study.table import table

PROMPTS = 30


def run(variant, seed, gains, resolved=None, **protocol):
    """A run in which each policy scores its gain above the base, with noise of .1."""
    rng = np.random.default_rng([seed, len(variant)])
    base = np.random.default_rng(0).normal(0, 1, PROMPTS)
    scored = {
        p: {"vader": (base + gain + rng.normal(0, 0.1, PROMPTS)).tolist()}
        for p, gain in {"sft": 0.0, **gains}.items()
    }
    return cell(scored, variant, seed, resolved=resolved or settings(), **protocol)


def phases(names):
    """The original's study: sampling raises every policy by 3.43, training does nothing."""
    new = {"grpo__num_generations": 8, "grpo__lr": 5e-6}
    designs = {
        "phase1": (0.0, {}, {}),
        "phase5": (3.43, {"report__sampling": PHASE_5, **new}, {"sampling": PHASE_5}),
        "sampling5": (3.43, {"report__sampling": PHASE_5}, {"sampling": PHASE_5}),
        "training5": (0.0, new, {}),
    }
    return [
        run(
            name, seed, {"grpo": designs[name][0]}, settings(**designs[name][1]), **designs[name][2]
        )
        for name in names
        for seed in (1, 2, 3, 4, 5)
    ]


def between(found, after, before, policy="grpo"):
    (claim,) = [c for c in found if (c.after, c.before, c.context) == (after, before, policy)]
    return claim


def test_a_claim_in_words():
    found = claims(table([run("a", s, {"grpo": 0.4, "dpo": 0.0}) for s in range(5)]), 2000, 0)
    grpo, dpo, methods = found
    numbers = estimate(grpo.result)
    assert grpo.sentence == (
        f"grpo − sft in vader = {numbers}, 5 seeds × {PROMPTS} prompts, p < 0.001 "
        "after Holm over 2 comparisons"
    )
    assert numbers.startswith(("+0.40", "+0.39", "+0.41", "+0.42", "+0.38"))
    assert dpo.sentence.startswith("dpo − sft in vader: not distinguishable (")
    assert (methods.family, methods.after, methods.before) == ("methods", "dpo", "grpo")
    assert methods.sentence.startswith("dpo − grpo in vader = −0.")
    assert not dpo.distinguishable and not grpo.causal  # algorithms differ in more than a key


def test_the_difference_is_paired_by_prompt_and_seed():
    scores = table([run("a", s, {"grpo": 0.4}) for s in range(3)])
    (claim,) = claims(scores, 500, 0)
    policies = scores.values["a"]
    assert claim.result == crossed(policies["grpo"]["vader"] - policies["sft"]["vader"], 500, 0)
    # prompts differ by 1, the difference by .14: unpaired, the interval could not be this narrow
    assert claim.result.interval.high - claim.result.interval.low < 0.3


def test_the_original_causal_gain_is_refused():
    found = claims(table(phases(["phase1", "phase5"])), 2000, 0)
    claim = between(found, "phase5", "phase1")
    assert claim.distinguishable and claim.result.interval.mean == pytest.approx(3.43, abs=0.2)
    assert not claim.causal and claim.family == "confounded"
    assert "confounded: training (stages.grpo.lr, stages.grpo.num_generations)" in claim.sentence
    assert "stages.report.sampling.temperature" in claim.sentence
    assert claim.sentence.endswith("a difference cannot be called an effect of training")


def test_the_crossed_design_finds_that_sampling_made_it():
    found = claims(table(phases(["phase1", "phase5", "sampling5", "training5"])), 2000, 0)
    sampling = between(found, "sampling5", "phase1")
    assert sampling.causal and sampling.contrast.side == "evaluation"
    assert sampling.result.interval.mean == pytest.approx(3.43, abs=0.2)
    training = between(found, "training5", "phase1")
    assert not training.distinguishable and not training.causal
    assert "not distinguishable" in training.sentence
    assert not between(found, "phase5", "phase1").causal


def test_what_a_key_does_not_reach_is_not_compared():
    cells = [
        run(name, seed, {"grpo": 0.1, "dpo": 0.1}, resolved)
        for name, resolved in (("a", settings()), ("b", settings(grpo__lr=5e-6)))
        for seed in (1, 2, 3)
    ]
    found = claims(table(cells), 200, 0)
    assert {c.context for c in found if c.family == "variants"} == {"grpo"}
    said = [(c.context, c.after) for c in found if c.family == "policies"]
    assert said == [("a", "grpo"), ("a", "dpo"), ("b", "grpo")]  # b's DPO runs are a's


def test_holm_is_taken_over_each_family():
    found = claims(table(phases(["phase1", "phase5", "sampling5", "training5"])), 500, 0)
    for family in FAMILIES:
        members = [c for c in found if c.family == family]
        assert [c.p_holm for c in members] == holm([c.result.p for c in members])
        assert all(c.comparisons == len(members) for c in members)


def test_scorers_that_were_not_named_are_corrected_apart():
    def scored(seed, gain):
        rng = np.random.default_rng(seed)
        return {s: rng.normal(gain, 1, PROMPTS).tolist() for s in ("vader", "length", "fluency")}

    policies = {"sft": 0.0, "dpo": 0.2, "grpo": 0.4}
    cells = [
        cell({p: scored(10 * s + i, g) for i, (p, g) in enumerate(policies.items())}, "a", s)
        for s in (1, 2, 3, 4)
    ]
    together = claims(table(cells), 500, 0)
    apart = claims(table(cells), 500, 0, ["vader"])
    assert {(c.family, c.comparisons) for c in together} == {("policies", 6), ("methods", 3)}
    counts = {(c.family, c.scorer): (c.primary, c.comparisons) for c in apart}
    assert counts["policies", "vader"] == (True, 2) and counts["methods", "vader"] == (True, 1)
    assert counts["policies", "length"] == counts["policies", "fluency"] == (False, 4)
    for c in (True, False):
        among = [x for x in apart if x.family == "policies" and x.primary == c]
        assert [x.p_holm for x in among] == holm([x.result.p for x in among])
    found = summary(apart)
    assert found["policies"]["comparisons"] == 2 and found["secondary policies"]["comparisons"] == 4
    assert sum(x["comparisons"] for x in found.values()) == len(apart)


def test_one_run_each_is_no_effect_of_training():
    resolved = settings(grpo__lr=5e-6)
    cells = [run("a", 1, {"grpo": 0.0}), run("b", 1, {"grpo": 2.0}, resolved)]
    claim = between(claims(table(cells), 2000, 0), "b", "a")
    assert claim.distinguishable and not claim.causal
    assert "1 seed ×" in claim.sentence
    assert claim.sentence.endswith("the effect is not told from the luck of a run")


def test_the_same_recipe_under_other_seeds_is_not_compared():
    cells = [run("a", 1, {"grpo": 0.0}), run("b", 2, {"grpo": 0.0})]
    assert {c.family for c in claims(table(cells), 50, 0)} == {"policies"}


def test_variants_are_paired_on_the_seeds_both_have():
    other = settings(grpo__lr=5e-6)
    cells = [run("a", s, {"grpo": 0.0}) for s in (1, 2, 3)]
    cells += [run("b", s, {"grpo": 0.0}, other) for s in (2, 3, 4)]
    assert between(claims(table(cells), 200, 0), "b", "a").result.seeds == 2
    with pytest.raises(AccordError, match="share no seed"):
        claims(table([*cells[:1], *cells[5:]]), 200, 0)


def test_small_scores_keep_two_figures_of_their_interval():
    values = np.array([[0.0, 0.001, 0.002, 0.003]])
    assert estimate(crossed(values, 4000, 0)).startswith("+0.0015 [0.0005, 0.0025]")
    assert estimate(crossed(-np.ones((2, 3)), 50, 0)) == "−1.00 [−1.00, −1.00]"


def test_a_claim_as_plain_values():
    (claim,) = claims(table([run("a", s, {"grpo": 0.4}) for s in range(3)]), 500, 0)
    plain = claim.to_json()
    assert plain["sentence"] == claim.sentence and plain["keys"] == []
    assert plain["ci95"] == [claim.result.interval.low, claim.result.interval.high]
    assert (plain["seeds"], plain["n"], plain["comparisons"]) == (3, PROMPTS, 1)
