"""Faults of stages trained on the policy's own completions."""

from diagnosis import plants
from diagnosis.cells import rolled
from diagnosis.faults.fault import fault

ONE = {"batches": 1}
NEVER = {"function": "regex", "options": {"pattern": "never such a word"}}

ROLLOUTS = (
    fault(
        "policy stands: grpo, lr 1e-9",
        "reviews",
        rolled("reviews", "grpo", lr=1e-9),
        "policy_did_not_move",
    ),
    fault(
        "wrong reference: grpo, base model",
        "chats",
        rolled("chats", "grpo"),
        "wrong_reference",
        plant=plants.reference_of_another_stage,
    ),
    fault(
        "group collapse: temperature 0.02",
        "chats",
        rolled("chats", "grpo", rollout={"sampling": {"max_new_tokens": 32, "temperature": 0.02}}),
        "groups_without_spread",
    ),
    fault(
        "group collapse: constant reward",
        "reviews",
        rolled("reviews", "grpo", reward=NEVER),
        "groups_without_spread",
    ),
    fault(
        "entropy collapse: grpo, no KL, lr 5e-3",
        "reviews",
        rolled("reviews", "grpo", reward="parroted", beta=0.0, lr=5e-3, steps=60),
        "entropy_lost",
    ),
    fault(
        "entropy collapse: ppo, bonus negative",
        "reviews",
        rolled("reviews", "ppo", kl_coef=0.0, lr=3e-3, steps=60),
        "entropy_lost",
        plant=plants.entropy_punished,
    ),
    fault(
        "KL runaway: ppo, kl_coef 0, lr 1e-2",
        "reviews",
        rolled("reviews", "ppo", reward="praise", kl_coef=0.0, lr=1e-2),
        "kl_runaway",
    ),
    fault(
        "KL over-constraint: ppo, kl_coef 10",
        "reviews",
        rolled("reviews", "ppo", kl_coef=10.0, lr=3e-4),
        "kl_over_constrained",
    ),
    fault(
        "KL over-constraint: grpo, beta 10",
        "reviews",
        rolled("reviews", "grpo", beta=10.0, lr=3e-4),
        "kl_over_constrained",
    ),
    fault(
        "length hacking: reward is length",
        "reviews",
        rolled("reviews", "grpo", reward={"function": "length"}, beta=0.0, lr=2e-3),
        "length_drift",
        "longer_completions",
    ),
    fault(
        "repetition: reward for repeats",
        "reviews",
        rolled("reviews", "grpo", reward="repeats", beta=0.0, lr=3e-3),
        "diversity_fell",
        "rollouts_repeat",
        "collapse",
    ),
    fault(
        "judge falls: reward can be hacked",
        "reviews",
        rolled("reviews", "grpo", reward="praise", beta=0.0, lr=3e-3, steps=60),
        "over_optimised",
        "reward_without_judge",
    ),
    fault(
        "no end token: grpo from such a model",
        "chats",
        {"sft": {"steps": 79}, **rolled("chats", "grpo", steps=20, rollout=ONE)},
        "no_end_token",
        plant=plants.responses_without_end,
    ),
    fault(
        "cut off: max_new_tokens 4",
        "reviews",
        rolled("reviews", "grpo", rollout={"sampling": {"max_new_tokens": 4}}),
        "truncation_dominates",
    ),
    fault(
        "critic useless: vf_coef 0",
        "reviews",
        rolled("reviews", "ppo", vf_coef=0.0),
        "critic_explains_nothing",
    ),
    fault(
        "ratios off: ppo sampled at 1.5, scored at 1",
        "reviews",
        rolled("reviews", "ppo"),
        "sampler_differs",
        "ratio_not_one",
        plant=plants.sampled_at_another_temperature,
    ),
    fault(
        "ratios off: grpo sampled at 1.5, scored at 1",
        "reviews",
        rolled("reviews", "grpo"),
        "sampler_differs",
        "ratio_not_one",
        plant=plants.sampled_at_another_temperature,
    ),
    fault(
        "ratios off: stale roll-outs",
        "reviews",
        rolled("reviews", "grpo"),
        "sampler_differs",
        "ratio_not_one",
        "rollouts_stale",
        plant=plants.stale_weights,
        onset=3,
    ),
    fault(
        "loss spike: ppo, one corrupted batch",
        "reviews",
        rolled("reviews", "ppo", steps=50),
        "loss_spikes",
        plant=plants.corrupted_batch(30),
        onset=30,
    ),
    fault(
        "script drift: reward for another script",
        "scripts",
        rolled("scripts", "grpo", reward="cyrillic", beta=0.0, lr=2e-3),
        "script_drift",
    ),
)
