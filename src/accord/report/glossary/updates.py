"""Metrics of the updates that PPO and the GRPO family make from a roll-out."""

from collections.abc import Mapping

from accord.evaluation.findings.preference import STILL_KL
from accord.evaluation.findings.updates import (
    CLIPPED_HIGH,
    ENTROPY_LEFT,
    KL_HIGH,
    KL_RUNAWAY,
    RATIO_OFF,
)
from accord.report.glossary.entry import REPORT, Entry, percent

PPO, GRPO = ("ppo",), ("grpo",)
BOTH = ("ppo", "grpo")
SMALLER = "Lower lr, use fewer rollout.iterations or rollout.batches, or set kl_stop."

METRICS: Mapping[str, Entry] = {
    "objective/scores": Entry(
        "Mean reward of completions, before the KL is taken off.",
        healthy="It rises, and so do the judges.",
        bad="Flat while objective/kl grows: the policy moves without gain. Rising while a judge "
        "falls: over-optimised.",
        try_="As for reward.",
        stages=PPO,
    ),
    "objective/rlhf_reward": Entry(
        "Mean reward of completions with the weighted KL taken off: PPO's real objective.",
        healthy="It rises.",
        bad="Falling while objective/scores rises: the gain does not pay for its KL.",
        try_="Lower kl_coef if the KL is wanted; else lower lr or stop.",
        formula="objective/scores + objective/non_score_reward",
        stages=PPO,
    ),
    "objective/non_score_reward": Entry(
        "What the weighted KL takes off the reward of a completion.",
        healthy="Below 0, and smaller than what objective/scores has gained.",
        bad="Larger than the gain: the KL is what is optimised. Above 0: the estimate is noise, or "
        "completions are those of another policy.",
        try_="Lower kl_coef, or kl_target so that it adapts.",
        formula="-kl_coef · objective/kl",
        stages=PPO,
    ),
    "kl_coef": Entry(
        "Weight of the KL in the shaped reward at that roll-out; moves where kl_target is set.",
        healthy="Constant, or settling.",
        bad="Growing without end: kl_target is out of reach. Falling towards 0: it never binds.",
        try_="Another kl_target; a lower kl_horizon adapts faster.",
        stages=PPO,
    ),
    "policy/approxkl_avg": Entry(
        "How far updates moved the policy from the one that wrote the roll-out, in nats a token.",
        healthy="0 at a roll-out's first batch; below about 0.02 later, in common use.",
        bad="Growing from batch to batch: the roll-out is no longer the policy's own.",
        try_=SMALLER,
        formula="mean (log π - log π_old)² / 2 over tokens",
        stages=BOTH,
    ),
    "policy/clipfrac_avg": Entry(
        "Share of tokens whose gradient the clip of the importance ratio takes.",
        healthy="0 at a roll-out's first batch, some per cent in its later ones.",
        bad=f"Above {percent(CLIPPED_HIGH)}: steps_too_large. Always 0 with several passes: the "
        "updates are tiny.",
        try_=f"{SMALLER} Always 0: raise lr.",
        stages=PPO,
    ),
    "policy/entropy_avg": Entry(
        "How undecided the policy is at a token of its roll-outs, in nats.",
        healthy="It falls slowly and levels off.",
        bad=f"Below {percent(ENTROPY_LEFT)} of its start: hardly anything is left to explore "
        "(entropy_lost).",
        try_="Raise kl_coef or set kl_target, raise entropy_coef, or stop earlier.",
        formula="over the tokens that sampling allows, at its temperature",
        stages=PPO,
    ),
    "loss/policy_avg": Entry(
        "The clipped policy objective that is lowered.",
        healthy="Around 0 and slightly negative: whitened advantages have mean 0. It is no measure "
        "of progress.",
        bad="Large swings: few completions, or a useless critic.",
        try_="More prompts a roll-out; see critic/vf_explained_var.",
        formula="mean -min(ρA, clip(ρ, 1-ε, 1+ε) A)",
        stages=PPO,
    ),
    "loss/value_avg": Entry(
        "Half the squared error of the value function, clipped.",
        healthy="It falls towards the noise of the returns. Its scale is that of rewards squared.",
        bad="Growing: rewards drift, or lr is too high for the critic.",
        try_="critic_from a reward model; lower lr; whiten_rewards.",
        formula="mean max((V - R)², (clip(V, V_old ± c) - R)²) / 2",
        stages=PPO,
    ),
    "val/ratio": Entry(
        "Importance ratio: a token's probability now over that when it was sampled, averaged.",
        healthy=f"Within {RATIO_OFF:g} of 1; exactly 1 at a roll-out's first batch.",
        bad=f"Further than {RATIO_OFF:g} from 1: updates are large for the roll-out "
        "(steps_too_large), or sampler and trainer are not one policy.",
        try_=f"{SMALLER} Off at the first batch: see sampling/sampling_logp_difference/mean.",
        formula="mean π / π_old",
        stages=BOTH,
    ),
    "val/ratio_var": Entry(
        "Mean squared distance of the importance ratio from 1.",
        healthy="0 at a roll-out's first batch; small later: 0.01 means ratios are off by 0.1.",
        bad="Growing over a roll-out's batches: single tokens move far.",
        try_=SMALLER,
        formula="mean (π / π_old - 1)²",
        stages=BOTH,
    ),
    "val/clipfrac_avg": Entry(
        "Share of tokens at which the change of the value function was clipped.",
        healthy="Low, once the critic is trained.",
        bad="High from the start: rewards are large beside cliprange_value, and the critic learns "
        "slowly.",
        try_="Raise cliprange_value or set it to none; whiten_rewards.",
        stages=PPO,
    ),
    "critic/vf_explained_var": Entry(
        "Share of the variance of returns that the value function predicts: 1 is perfect, 0 no "
        "better than their mean.",
        healthy="Above 0 and rising. How far depends on how much a beginning tells of the reward.",
        bad="0 or below in the last fifth of the run, and not rising to it: the value function "
        "explains nothing (critic_explains_nothing); advantages are then rewards with noise.",
        try_="Start it from the reward model (critic_from), raise vf_coef, train for more steps.",
        formula="1 - Var(R - V) / Var(R)",
        stages=PPO,
    ),
    "kl": Entry(
        "The KL to the reference that beta weighs, estimated at each token, in nats.",
        healthy=f"Small and settling, below {KL_HIGH:g}. It is logged where beta is above 0.",
        bad=f"Above {KL_HIGH:g} nats a token: runs away; above {KL_RUNAWAY:g} it is other text.",
        try_="Raise beta, lower lr, or stop earlier.",
        formula="mean of kl_estimator; k3: exp(-d) - 1 + d, d = log π - log π_ref",
        stages=GRPO,
        also=(
            Entry(
                "KTO's point of reference z0: the KL of policy to reference over answers of other "
                "prompts, in nats, at least 0 (loss: kto).",
                healthy="0 at the first step, then a few nats.",
                bad="Growing fast: the policy becomes likelier to say anything, whatever was "
                "asked.",
                try_="Raise beta, lower lr; a larger batch_size estimates it better.",
                formula="max(0, mean Σπ - Σπ_ref) over a step's mismatched answers",
                stages=("preference",),
            ),
            Entry(
                "How far the policy moved from the reference: the Kullback–Leibler divergence of "
                "whole completions at temperature 1, in nats.",
                healthy="The lower of two policies with the same score is the better one. 0 is the "
                "reference itself.",
                bad=f"Below {STILL_KL:g}: the policy did not move. High: the score was bought with "
                "other text; read samples, see fluency and distinct_2.",
                try_="Raise beta (PPO: kl_coef), lower lr, or stop earlier.",
                formula="Σ over a completion of KL(π‖π_ref) at each token, exact over the "
                "vocabulary",
                stages=("evaluate",),
                file=REPORT,
            ),
        ),
    ),
    "clip_ratio/low_mean": Entry(
        "Share of tokens clipped because they had become too unlikely (ratio below 1 - epsilon, "
        "advantage below 0).",
        healthy="Some per cent at most; 0 at a roll-out's first batch.",
        bad="Growing: punished tokens are pushed far at once.",
        try_=SMALLER,
        stages=BOTH,
    ),
    "clip_ratio/high_mean": Entry(
        "Share of tokens clipped because they had become too likely (ratio above 1 + epsilon_high, "
        "advantage above 0).",
        healthy="Some per cent at most; 0 at a roll-out's first batch.",
        bad="High while entropy falls: rare good tokens are held back.",
        try_="epsilon_high: 0.28 (clip-higher). If steps are too large: " + SMALLER,
        stages=BOTH,
    ),
    "clip_ratio/region_mean": Entry(
        "Share of tokens whose gradient the clip takes, at either side.",
        healthy="Some per cent; 0 at a roll-out's first batch. With "
        "importance_sampling_level: sequence it counts completions, and more is normal.",
        bad=f"Above {percent(CLIPPED_HIGH)}: steps_too_large.",
        try_=SMALLER,
        stages=GRPO,
    ),
    "cispo_clip_ratio": Entry(
        "Share of tokens whose weight was capped at 1 + epsilon_high (loss_type: cispo).",
        healthy="Some per cent; 0 at a roll-out's first batch.",
        bad="High: most of what changed is weighed alike.",
        try_=f"Raise epsilon_high. {SMALLER}",
        stages=GRPO,
    ),
}
