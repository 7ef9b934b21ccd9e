"""Writes the table of findings in docs/diagnosis.md; its bounds are read from the checks.

python docs/findings_table.py
"""

from collections.abc import Mapping
from pathlib import Path

from accord.evaluation.findings import (
    data,
    drift,
    policies,
    preference,
    reward,
    rollouts,
    routing,
    stability,
    start,
    trends,
    updates,
)

PAGE = Path(__file__).with_name("diagnosis.md")
BEGIN, END = "<!-- findings -->", "<!-- end of findings -->"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


FINDINGS: Mapping[str, tuple[str, str]] = {
    "wrong_reference": (
        f"in the first step: rewards more than {start.REWARD_OFF:g} from 0, a loss on pairs "
        f"{_percent(start.LOSS_OFF)} off its constant (log 2), or a KL above {start.KL_OFF:g} nats",
        "train from the model that the reference is; same template, tokens, adapter",
    ),
    "ratio_not_one": (
        f"importance ratio more than {start.FIRST_RATIO_OFF:g} from 1 before the first update",
        "same precision, temperature and engine for sampling and training",
    ),
    "rollouts_stale": (
        f"half the mean squared log-ratio above {start.STALE:g} where a roll-out is first used",
        "hand the trained weights to the sampler before each roll-out",
    ),
    "sampler_differs": (
        f"sampler and trainer more than {updates.SAMPLER_OFF:g} nats a token apart",
        "one precision for both, or `engine: accord`",
    ),
    "policy_did_not_move": (
        f"margin below {preference.STILL_MARGIN:g} and KL below {preference.STILL_KL:g} nats at "
        "the end",
        "raise lr or steps, keep fp32 master weights; rewards of one prompt must differ",
    ),
    "reward_did_not_rise": (
        "the policy moved, and its reward surely did not rise",
        "raise lr or steps, or collect more completions a step",
    ),
    "kl_over_constrained": (
        f"KL below {updates.KL_HELD:g} nats a token, no rise, and a weight of the KL above "
        f"{updates.TIGHT:g} spreads of the reward",
        "lower kl_coef or beta",
    ),
    "loss_did_not_fall": (
        f"the loss of given rows surely fell by less than {_percent(stability.FELL_LITTLE)}",
        "raise lr or steps; see that the rows carry loss",
    ),
    "loss_spikes": (
        f"a loss {stability.SPIKE:g} robust standard deviations above its neighbours; of a policy, "
        f"half a mean squared log-ratio above {stability.TORN:g}, {stability.MANY:g} times theirs",
        "lower lr, warm up longer, set max_grad_norm, look at the rows of these steps",
    ),
    "loss_diverged": (
        f"the loss ended above {stability.DIVERGED:g} times its first value or "
        f"{stability.TURNED:g} times its lowest part",
        "lower lr, warm up longer, set max_grad_norm",
    ),
    "steps_skipped": (
        "a loss or gradient that is not finite",
        "look at the rows named in metrics.jsonl, lower lr, or `precision: fp32`",
    ),
    "loss_saturated": (
        f"loss below {stability.LOSS_LOW:g} and more than {_percent(stability.RIGHT_HIGH)} right "
        f"over the last fifth, with more than {_percent(stability.SPENT)} of the learning rates' "
        "sum spent since",
        "stop earlier, harder pairs, raise beta or label_smoothing",
    ),
    "overfitting": (
        f"held-out loss {_percent(data.OVERFIT)} above its lowest value",
        "train to the step of the lowest value",
    ),
    "margin_explosion": (
        f"margin on the training pairs above {preference.MARGIN_LARGE:g}, or before beta above "
        f"{preference.MARGIN_FAR:g} times the nats of a whole response",
        "set margin_cap, raise beta, lower lr, or stop earlier",
    ),
    "chosen_fell": (
        f"chosen responses less likely by {_percent(preference.CHOSEN_FELL_SHARE)} of their "
        f"log-probability, {preference.CHOSEN_FELL:g} nat at least",
        "give their likelihood more weight (`loss: {sigmoid: 1, sft: 0.3}`)",
    ),
    "forgetting": (
        f"held-out bits a byte {_percent(drift.FORGOT)} above an earlier stage's; chosen responses "
        f"less likely by {_percent(drift.CHOSEN_LOST)}",
        "mix in rows of what is forgotten, give SFT more weight, raise beta, lower lr",
    ),
    "format_only_preference": (
        f"{_percent(start.AT_ONCE)} of the pairs right in the first fifth, and one side "
        f"{start.SEPARATE:g} times less likely under the starting model",
        "rejected responses as fluent and as long as the chosen ones",
    ),
    "groups_without_spread": (
        f"more than {_percent(rollouts.ALIKE_HIGH)} of the groups with one reward (no fault where "
        "the reward rose and completions still differ: the task is solved)",
        "other prompts, higher temperature, larger groups, dynamic_sampling",
    ),
    "rollouts_repeat": (
        f"fewer than {_percent(rollouts.UNIQUE_LOW)} of a roll-out's completions differ",
        "raise beta or kl_coef, stop earlier, higher temperature",
    ),
    "entropy_lost": (
        f"entropy below {_percent(updates.ENTROPY_LEFT)} of its start",
        "raise beta, kl_coef or entropy_coef, or stop earlier",
    ),
    "critic_explains_nothing": (
        "explained variance of the returns not above 0 at the end, and neither it nor the "
        "value loss gets better any more",
        "critic_from, raise vf_coef, more steps",
    ),
    "kl_runaway": (
        f"KL above {updates.KL_HIGH:g} nats a token, in training or in the evaluation",
        "raise beta or kl_coef, lower lr, stop earlier",
    ),
    "kl_over_target": (
        f"KL above {updates.OVER_TARGET:g} times kl_target",
        "lower kl_horizon, start from a higher kl_coef",
    ),
    "steps_too_large": (
        f"mean ratio more than {updates.RATIO_OFF:g} from 1, or more than "
        f"{_percent(updates.CLIPPED_HIGH)} of the tokens clipped",
        "lower lr, fewer rollout.iterations or batches, kl_stop",
    ),
    "length_drift": (
        f"length moved by {_percent(rollouts.LENGTH_MOVED)} while the reward rose",
        "a reward that length does not move; raise beta or kl_coef",
    ),
    "truncation_dominates": (
        f"more than {_percent(rollouts.CUT_HIGH)} of the completions cut off",
        "raise max_new_tokens, set missing_end_penalty",
    ),
    "no_end_token": (
        f"more than {_percent(rollouts.NEVER_ENDS)} of a run's completions cut off; in the "
        f"evaluation, fewer than {_percent(policies.ENDS_NEVER)} end by themselves",
        "responses must end with the end token in SFT; raise max_new_tokens",
    ),
    "over_optimised": (
        f"reward rose beyond {trends.ERRORS:g} standard errors while a judge lost "
        f"{_percent(rollouts.FELL_BACK)} of its rise and {_percent(rollouts.FELL_LEAST)} of its "
        "height",
        "stop at the judge's best step, raise beta or kl_coef, a better reward model",
    ),
    "reward_without_judge": (
        "the evaluation finds more of a learned reward and no more of what a judge measures",
        "a better reward model, stop earlier, hold the policy nearer",
    ),
    "longer_completions": (
        f"{_percent(policies.LONGER)} longer than the reference's",
        "match pairs in length; a reward that length does not move",
    ),
    "shorter_completions": (
        f"{_percent(policies.SHORTER)} shorter than the reference's",
        "match pairs in length; a reward that length does not move",
    ),
    "rambling": (
        f"the share that ends fell by {policies.ENDED_FALL:g}, and by {policies.SURE:g} standard "
        "errors",
        "missing_end_penalty, more weight for SFT, `loss: sigmoid_norm`",
    ),
    "diversity_fell": (
        f"distinct-2 {_percent(policies.DIVERSITY_FALL)} below the reference's, and by more than "
        f"{policies.SURE:g} standard errors",
        "raise beta or kl_coef, fewer steps",
    ),
    "collapse": (
        f"fewer than {_percent(policies.UNIQUE_LOW)} of the evaluated completions differ",
        "raise beta or kl_coef, stop earlier",
    ),
    "fluency_fell": (
        f"{policies.FLUENCY_FALL:g} nats a token less likely under the reference",
        "raise beta or kl_coef, lower lr, fewer steps",
    ),
    "copies_rose": (
        f"{_percent(policies.COPIES_RISE)} more of the 8-grams stand in the training text",
        "fewer epochs, more varied pairs",
    ),
    "script_drift": (
        f"{_percent(drift.STRAYED)} more of the letters in scripts that the prompt does not use",
        "reward the prompt's language, hold the policy nearer, train on it",
    ),
    "leakage": (
        "prompts of the evaluation found in a model's training rows; or one source for both, not "
        "held out alike",
        "hold the prompts out (heldout.prompts), one heldout for both",
    ),
    "rows_dropped": (
        f"more than {_percent(data.ROWS_LOST)} of a source's rows lost, not by intent",
        "see the row account",
    ),
    "rows_truncated": (
        f"more than {_percent(data.ROWS_LOST)} of a source's rows shortened",
        "raise max_length",
    ),
    "reward_model_at_chance": (
        "interval of the held-out accuracy reaches a half",
        "raise lr or steps; see that chosen and rejected differ",
    ),
    "reward_model_below_baseline": (
        "a TF-IDF ridge is right more often",
        "a better trunk, more pairs, pairs.regression",
    ),
    "reward_model_miscalibrated": (
        f"calibration error above {_percent(reward.CALIBRATION_OFF)}, a bin of it by "
        f"{reward.SURE:g} standard errors",
        "surer than right: fewer steps, weight_decay; else more steps",
    ),
    "reward_model_reads_length": (
        f"correlation of score and length above {reward.LENGTH_TIED:g}",
        "pairs.length_ratio, or weigh a length function against it",
    ),
    "dead_experts": (
        f"an expert without a token in each of the last {routing.FEWEST} lines or more",
        "raise router_aux_loss_coef, more tokens a step",
    ),
    "router_collapsed": (
        f"more than {_percent(routing.BUSIEST)} of a layer's tokens on one expert",
        "raise router_aux_loss_coef, router_z_loss_coef, lower lr",
    ),
}
"""Each warning and problem: what raises it, and the remedy in short."""


def table() -> str:
    """One row a finding."""
    rows = [f"| `{name}` | {why} | {remedy} |" for name, (why, remedy) in FINDINGS.items()]
    return "\n".join(["| finding | raised by | remedy |", "| --- | --- | --- |", *rows])


def rendered(page: str) -> str:
    """The page with the table between its marks."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
