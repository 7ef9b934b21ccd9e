"""Metrics of roll-outs: what the completions of PPO, GRPO and online preference are like."""

from collections.abc import Mapping

from accord.evaluation.findings.preference import STILL_KL
from accord.evaluation.findings.rollouts import (
    ALIKE_HIGH,
    ALIKE_MOST,
    CUT_HIGH,
    CUT_MOST,
    LENGTH_MOVED,
    NEVER_ENDS,
    UNIQUE_FALL,
    UNIQUE_LOST,
    UNIQUE_LOW,
)
from accord.evaluation.findings.updates import KL_HIGH, KL_RUNAWAY, OVER_TARGET, SAMPLER_OFF
from accord.report.glossary.entry import REPORT, ROLLOUTS, Entry, percent

SCORED = ("ppo", "grpo")
"""Stages that score their completions by the training path."""

METRICS: Mapping[str, Entry] = {
    "reward": Entry(
        "What is maximised: the weighted sum of the reward's terms, averaged over the completions "
        "of a roll-out.",
        healthy="It rises. Compare parts of a run that differ by more than their noise, and the "
        "judges beside it: no level is good by itself.",
        bad="Flat: too low a lr, or rewards that do not differ. Rising while a judge falls: "
        "over-optimised.",
        try_="Flat: raise lr, steps or completions a step. Over-optimised: stop at the judge's "
        "best step, raise beta (PPO: kl_coef), train a better reward model.",
        formula="Σ weight · term, less missing_end_penalty for what was cut off",
        stages=ROLLOUTS,
    ),
    "reward_std": Entry(
        "How much the rewards of one prompt's completions differ: their standard deviation, "
        "averaged over prompts.",
        healthy="Well above the reward's own noise. It falls as answers become alike.",
        bad="Near 0: completions of a prompt are worth the same, and advantages are noise.",
        try_="A higher temperature, larger groups, prompts of middling difficulty.",
        formula="unbiased, within each prompt",
        stages=(*ROLLOUTS, "reward"),
        also=(
            Entry(
                "How much a reward model's scores differ over held-out responses.",
                healthy="Of the order of 1, as differences of scores are log-odds.",
                bad="Near 0: everything gets the same score. Large with a high ece: too sure.",
                try_="See ece and margin.",
                stages=("reward",),
            ),
        ),
    ),
    "frac_reward_zero_std": Entry(
        "Share of prompts whose completions all have the same reward: they give no gradient.",
        healthy=f"Below {percent(ALIKE_HIGH)}.",
        bad=f"Above {percent(ALIKE_HIGH)} most prompts teach nothing, above {percent(ALIKE_MOST)} "
        "it is a problem (groups_without_spread). In grpo the loss then looks like 0 and done.",
        try_="Prompts that are neither always nor never answered well, a higher temperature, "
        "larger groups, or dynamic_sampling.",
        stages=ROLLOUTS,
    ),
    "unique": Entry(
        "Share of different texts among the completions of a roll-out.",
        healthy=f"Near 1 for open questions, and above {percent(UNIQUE_LOW)}. Short answers repeat "
        "by nature: compare with the first roll-out.",
        bad=f"Below {percent(UNIQUE_LOW)} after a fall of more than {percent(UNIQUE_FALL)}: the "
        f"policy collapses; below {percent(UNIQUE_LOST)} it is a problem (rollouts_repeat).",
        try_="Raise beta (PPO: kl_coef or set kl_target), stop earlier, or sample at a higher "
        "temperature.",
        stages=ROLLOUTS,
        also=(
            Entry(
                "Share of different texts among a policy's completions in the evaluation.",
                healthy=f"Above {percent(UNIQUE_LOW)}, and near the reference's.",
                bad=f"Below {percent(UNIQUE_LOW)} and below the reference's: collapse; below "
                f"{percent(UNIQUE_LOST)} it is a problem.",
                try_="Raise beta (PPO: kl_coef or set kl_target), or stop earlier.",
                stages=("evaluate",),
                file=REPORT,
            ),
        ),
    ),
    "objective/kl": Entry(
        "How far the policy moved from the reference in its own roll-outs, in nats a completion.",
        healthy="0 at the first roll-out, then a few nats, growing ever more slowly. Divide it by "
        f"completions/mean_length: below {KL_HIGH:g} nats a token.",
        bad=f"Above {KL_HIGH:g} nats a token: it runs away (kl_runaway), above {KL_RUNAWAY:g} it "
        f"writes other text altogether. Below {STILL_KL:g} a completion at the end: it did not "
        f"move. Above {OVER_TARGET:g} × kl_target: the coefficient adapts too slowly.",
        try_="Runs away: raise kl_coef or set kl_target (grpo, online: raise beta), lower lr, stop "
        "earlier. Did not move: raise lr or steps, or loosen them.",
        formula="Σ (log π - log π_ref) over a completion's tokens, drawn from π",
        stages=ROLLOUTS,
    ),
    "objective/entropy": Entry(
        "How undecided the policy is over a whole completion, in nats.",
        healthy="It falls slowly and levels off. It grows with length: compare with "
        "completions/mean_length.",
        bad="Near 0: one answer is left.",
        try_="Raise entropy_coef (PPO), the temperature, kl_coef or beta.",
        formula="Σ over a completion's tokens of the entropy there",
        stages=SCORED,
    ),
    "completions/mean_length": Entry(
        "Mean tokens of a completion in a roll-out, its end included.",
        healthy=f"Within {percent(LENGTH_MOVED)} of its start, unless longer answers are wanted.",
        bad=f"A change of more than {percent(LENGTH_MOVED)} while the reward rises: the reward may "
        "be paid in length (length_drift).",
        try_="A reward that length does not move (see length_correlation), loss_type: dr_grpo, or "
        "raise kl_coef (grpo, online: beta).",
        stages=ROLLOUTS,
    ),
    "completions/min_length": Entry(
        "Tokens of the shortest completion of a roll-out.",
        healthy="More than the end token alone.",
        bad="1: the policy answers with nothing.",
        try_="A reward that an empty answer does not get; raise kl_coef or beta.",
        stages=ROLLOUTS,
    ),
    "completions/max_length": Entry(
        "Tokens of the longest completion of a roll-out.",
        healthy="At most rollout.sampling.max_new_tokens, and below it where answers end.",
        bad="Always at the limit: see completions/clipped_ratio.",
        try_="Raise rollout.sampling.max_new_tokens.",
        stages=ROLLOUTS,
    ),
    "completions/clipped_ratio": Entry(
        "Share of completions that were cut off at rollout.sampling.max_new_tokens.",
        healthy=f"Below {percent(CUT_HIGH)}, falling.",
        bad=f"Above {percent(CUT_HIGH)}: rewards are those of fragments; above {percent(CUT_MOST)} "
        f"it is a problem (truncation_dominates); above {percent(NEVER_ENDS)} over a whole run the "
        "policy does not know its end token (no_end_token).",
        try_="Raise rollout.sampling.max_new_tokens, set missing_end_penalty; grpo also has "
        "mask_truncated_completions.",
        stages=ROLLOUTS,
    ),
    "sampling/sampling_logp_difference/mean": Entry(
        "Distance of the sampler's log-probability of a token from the trainer's, in nats: 0 where "
        "both are one policy.",
        healthy="In fp32 below 1e-4; in bf16 more: compare with the first roll-out.",
        bad=f"Above {SAMPLER_OFF:g}: completions are those of another policy (sampler_differs), "
        "and importance ratios are wrong from the start.",
        try_="The same precision for both (precision: fp32), or engine: accord.",
        formula="mean |log π_sampler - log π_trainer| before the first update",
        stages=SCORED,
    ),
    "sampling/sampling_logp_difference/max": Entry(
        "The largest distance of sampler and trainer at a token of a roll-out, in nats.",
        healthy="Well below 1; the mean is the one to judge by.",
        bad="Above 1 with a small mean: single tokens are off, as at the edge of top_p.",
        try_="Compare with top_p: 1 and top_k: 0; precision: fp32.",
        stages=SCORED,
    ),
    "prompts_per_second": Entry("Prompts learned from a second.", stages=ROLLOUTS),
}
