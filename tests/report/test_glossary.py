"""Plain words for what the report shows."""

from accord.evaluation.scorers import SCORERS
from accord.report.glossary import GLOSSARY, explain


def test_every_scorer_and_statistic_is_explained(document):
    names = [*SCORERS, *document["policies"]["dpo"]["statistics"]]
    assert all(explain(name) for name in names)


def test_held_out_metrics_are_explained_by_their_own_name():
    assert explain("eval_rewards/margins") == (f"On held-out rows: {GLOSSARY['rewards/margins']}")
    assert explain("no_such_metric") == ""


def test_every_metric_of_every_stage_is_explained(whole):
    metrics = {metric for found in whole["curves"].values() for metric in found}
    assert len(metrics) > 30
    assert [metric for metric in metrics if not explain(metric)] == []


def test_labels_of_rewards_and_judges_are_free():
    assert "judge" in explain("judges/python:own:taste/mean")
    assert "term of the reward" in explain("rewards/rm/mean")
    assert explain("rewards/margins") == GLOSSARY["rewards/margins"]


LOGGED = (
    "loss", "loss/policy_avg", "loss/value_avg", "policy/approxkl_avg", "policy/clipfrac_avg",
    "policy/entropy_avg", "val/ratio", "val/ratio_var", "val/clipfrac_avg", "kl_coef", "kl",
    "critic/vf_explained_var", "objective/kl", "objective/entropy", "objective/scores",
    "objective/rlhf_reward", "objective/non_score_reward", "entropy", "reward", "reward_std",
    "frac_reward_zero_std", "unique", "pairs_made", "clip_ratio/low_mean", "clip_ratio/high_mean",
    "clip_ratio/region_mean", "cispo_clip_ratio", "completions/mean_length",
    "completions/min_length", "completions/max_length", "completions/clipped_ratio",
    "sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max", "accuracy",
    "eval_accuracy", "eval_accuracy/short", "margin", "rating_mse", "eval_ece", "min_reward",
    "mean_reward", "max_reward", "eval_reward_std", "eval_length_correlation",
    "groups_per_second", "prompts_per_second", "pairs_per_second",
)  # fmt: skip
"""What reward and policy stages write to their metrics.jsonl."""


def test_metrics_of_the_stages_are_explained():
    assert [metric for metric in LOGGED if not explain(metric)] == []
