"""What differs between variants, and whether a difference may be called an effect."""

from itertools import product

from made_study import PHASE_1, PHASE_5, settings

from accord.evaluation.study.conclusions import conclusions, separated_by
from accord.evaluation.study.factors import changes, factors, flattened, upstream

NEW = {"grpo__num_generations": 8, "grpo__lr": 5e-6}
PHASES = {"phase1": settings(), "phase5": settings(report__sampling=PHASE_5, **NEW)}
CROSSED = {
    **PHASES,
    "sampling5": settings(report__sampling=PHASE_5),
    "training5": settings(**NEW),
}


def only(variants, **reaching):
    (contrast,) = factors(variants, **reaching).values()
    return contrast


def test_one_key_is_isolated_and_named_with_its_values():
    contrast = only({"a": settings(), "b": settings(grpo__num_generations=8)})
    assert (contrast.verdict, contrast.side) == ("isolated", "training")
    assert contrast.sentence == "isolates training: stages.grpo.num_generations (4 → 8)"


def test_several_keys_of_one_side_are_confounded_with_each_other():
    contrast = only({"a": settings(), "b": settings(**NEW)})
    assert contrast.verdict == "together"
    assert contrast.sentence.startswith("confounded: 2 training keys change at once")
    assert "stages.grpo.lr, stages.grpo.num_generations" in contrast.sentence


def test_phases_that_change_sampling_and_training_give_no_causal_claim():
    contrast = only(PHASES)
    assert (contrast.verdict, contrast.side) == ("confounded", "")
    assert set(contrast.training) == {"stages.grpo.lr", "stages.grpo.num_generations"}
    assert "stages.report.sampling.temperature" in contrast.evaluation
    assert "cannot be called an effect of training" in contrast.sentence
    told = conclusions(factors(PHASES))
    assert told["can"] == []
    assert "would tell them apart" in told["cannot"][0]


def test_a_crossed_design_separates_sampling_from_training():
    contrasts = factors(CROSSED)
    assert separated_by(contrasts["phase1", "phase5"], contrasts) == [
        ("sampling5", "evaluation", "training"),
        ("training5", "training", "evaluation"),
    ]
    sides = {pair: contrast.side for pair, contrast in contrasts.items()}
    assert sides["phase1", "sampling5"] == sides["phase5", "training5"] == "evaluation"
    assert sides["phase1", "training5"] == sides["phase5", "sampling5"] == "training"
    told = conclusions(contrasts)
    assert "training5 − phase1 shows the effect of training as a whole." in told["can"]
    assert "sampling5 tells them apart" in told["cannot"][0]


def test_one_arm_of_the_cross_is_enough_and_an_unrelated_variant_is_not():
    three = {name: CROSSED[name] for name in ("phase1", "phase5", "training5")}
    assert [name for name, *_ in separated_by(factors(three)["phase1", "phase5"], factors(three))]
    other = {**PHASES, "dpo": settings(dpo__beta=0.3)}
    assert not separated_by(factors(other)["phase1", "phase5"], factors(other))


def test_a_key_counts_only_for_the_policies_it_reaches():
    variants = {"a": settings(), "b": settings(grpo__lr=5e-6)}
    assert only(variants, policy="grpo").verdict == "isolated"
    assert only(variants, policy="dpo").verdict == "nothing"
    shared = {"a": settings(), "b": settings(sft__lr=1e-4)}
    assert all(only(shared, policy=p).verdict == "isolated" for p in ("sft", "dpo", "grpo"))


def test_a_reward_model_that_trains_and_judges_confounds_only_what_it_judges():
    variants = {"a": settings(), "b": settings(rm__lr=1e-4)}
    assert only(variants, policy="grpo", scorer="learned").verdict == "confounded"
    assert only(variants, policy="grpo", scorer="length").verdict == "isolated"
    assert only(variants, policy="dpo", scorer="learned").side == "evaluation"
    assert only(variants, policy="dpo", scorer="length").verdict == "nothing"


def test_fluency_is_judged_by_the_reference():
    variants = {"a": settings(), "b": settings(sft__lr=1e-4)}
    assert only(variants, policy="grpo", scorer="fluency").verdict == "confounded"
    assert only(variants, policy="grpo", scorer="length").verdict == "isolated"


def test_seeds_labels_and_what_is_only_shown_are_no_factors():
    silent = {"name": "b", "seed": 9, "title": "B"} | {
        f"stages.report.{key}": value for key, value in (("shown", 3), ("bootstrap", 9))
    }
    for key, value in silent.items():
        assert only({"a": settings(), "b": settings() | {key: value}}).verdict == "nothing"
    assert only({"a": settings(), "b": settings() | {"stages.grpo.seed": 3}}).verdict == "nothing"
    assert only({"a": settings(), "b": settings() | {"precision": "bf16"}}).side == "training"
    split = settings() | {"stages.sft.heldout": {"seed": 3}}
    assert only({"a": settings(), "b": split}).keys == ("stages.sft.heldout.seed",)


def test_another_judge_does_not_touch_this_scorer():
    variants = {"a": settings(), "b": settings(report__rewards={"learned": {"model": "other"}})}
    assert only(variants, policy="dpo", scorer="learned").side == "evaluation"
    assert only(variants, policy="dpo", scorer="length").verdict == "nothing"


def test_another_reference_touches_differences_and_fluency_only():
    variants = {"a": settings(), "b": settings(report__reference="dpo")}
    assert only(variants, policy="grpo", scorer="length").verdict == "nothing"
    assert only(variants, policy="grpo", scorer="fluency").side == "evaluation"
    assert only(variants).keys == ("stages.report.reference",)


def test_flattening_and_unset_keys():
    assert flattened({"a": {"b": {"c": 1}}, "d": (1, 2)}) == {"a.b.c": 1, "d": [1, 2]}
    assert changes({"a": None}, {}) == {}
    assert changes({"a": 1}, {"b": 2}) == {"a": (1, None), "b": (None, 2)}
    assert upstream(flattened(settings()), "grpo") == {"grpo", "sft", "rm"}
    assert upstream(flattened(settings()), "hub:some/model") == set()


def test_every_pair_of_a_full_cross_has_the_verdict_of_its_distance():
    grid = list(product((0.7, 0.3), (4, 8)))
    variants = {
        f"{t}/{k}": settings(report__sampling=PHASE_1 | {"temperature": t}, grpo__num_generations=k)
        for t, k in grid
    }
    for (before, after), contrast in factors(variants).items():
        apart = sum(a != b for a, b in zip(before.split("/"), after.split("/"), strict=True))
        assert contrast.verdict == {1: "isolated", 2: "confounded"}[apart]


BEST = {"report__best_of__bo4__n": 4, "report__best_of__bo4__reward": [{"model": "rm"}]}


def test_a_best_of_n_is_made_by_what_it_draws_from_and_chooses_by():
    before = settings(**BEST)
    for stage, reached in (("sft", True), ("rm", True), ("dpo", False)):
        after = settings(**BEST, **{f"{stage}__lr": 9.0})
        contrast = only({"a": before, "b": after}, policy="bo4", scorer="length")
        assert set(contrast.training) == ({f"stages.{stage}.lr"} if reached else set())
        assert not contrast.evaluation
    assert upstream(before, "bo4") == {"sft", "rm"}


def test_another_best_of_n_touches_itself_alone():
    more = {"report__best_of__bo8__n": 8, "report__best_of__bo8__reward": [{"function": "vader"}]}
    both = {"a": settings(**BEST), "b": settings(**BEST, **more)}
    for policy in ("bo4", "dpo"):
        assert only(both, policy=policy, scorer="length").verdict == "nothing"
    assert only(both, policy="bo8", scorer="length").side == "evaluation"
