"""Every fault that is planted: how, where, and which findings are meant for it."""

from collections.abc import Mapping
from typing import Any

from diagnosis import plants
from diagnosis.cell import Cell
from diagnosis.cells import evaluation, pairs, rolled, supervised
from diagnosis.worlds import WORLDS, Stages, source


def _fault(name: str, world: str, stages: Stages, *expected: str, **more: Any) -> Cell:
    return Cell(name, world, stages, frozenset(expected), **more)


def _pairs() -> list[Cell]:
    """Faults of stages trained on pairs."""
    return [
        _fault(
            "margin explosion: lr 2e-2, batch 1",
            "chats",
            pairs("chats", file="obvious", lr=2e-2, batch_size=1, beta=0.3, steps=100),
            "margin_explosion",
        ),
        _fault(
            "margin explosion: lr 5e-3, beta 0.02",
            "chats",
            pairs("chats", file="obvious", lr=5e-3, batch_size=4, beta=0.02, steps=100),
            "margin_explosion",
        ),
        _fault(
            "saturated loss: one word tells",
            "chats",
            pairs("chats", file="obvious", lr=3e-3, steps=120),
            "loss_saturated",
        ),
        _fault(
            "chosen falls: pairs alike",
            "chats",
            pairs("chats", file="alike", lr=5e-3, beta=0.05, batch_size=8, steps=100),
            "chosen_fell",
        ),
        _fault(
            "policy stands: dpo, lr 1e-9",
            "reviews",
            pairs("reviews", lr=1e-9),
            "policy_did_not_move",
        ),
        _fault(
            "policy stands: dpo, bf16 without masters",
            "reviews",
            pairs("reviews", lr=5e-6),
            "policy_did_not_move",
            plant=plants.no_master_weights,
        ),
        _fault(
            "wrong reference: dpo, base model",
            "chats",
            pairs("chats"),
            "wrong_reference",
            plant=plants.reference_of_another_stage,
        ),
        _fault(
            "wrong reference: dpo, logged every 10 steps",
            "chats",
            pairs("chats", log_every=10),
            "wrong_reference",
            plant=plants.reference_of_another_stage,
        ),
        _fault(
            "wrong reference: dpo, in training mode",
            "reviews",
            pairs("reviews"),
            "wrong_reference",
            plant=plants.reference_in_training_mode,
        ),
        _fault(
            "forgetting: dpo, lr 1e-2",
            "chats",
            pairs("chats", lr=1e-2, beta=0.05),
            "forgetting",
        ),
        _fault(
            "format only: rejected is gibberish",
            "chats",
            pairs("chats", file="gibberish", lr=1e-3),
            "format_only_preference",
        ),
        _fault(
            "loss spike: dpo, one corrupted batch",
            "reviews",
            pairs("reviews", lr=2e-4),
            "loss_spikes",
            plant=plants.corrupted_batch(30),
            onset=30,
        ),
    ]


def _supervised() -> list[Cell]:
    """Faults of stages trained on given rows."""
    return [
        _fault(
            "loss stands: sft, lr 1e-9",
            "reviews",
            # few rows, all of them in each step: noise would hide that nothing is learned
            supervised("reviews", lr=1e-9, steps=40, batch_size=48, heldout={"fraction": 0.9}),
            "loss_did_not_fall",
        ),
        _fault(
            "loss spike: sft, one corrupted batch",
            "chats",
            supervised("chats"),
            "loss_spikes",
            plant=plants.corrupted_batch(40),
            onset=40,
        ),
        _fault(
            "overflow: sft, two steps",
            "chats",
            supervised("chats"),
            "steps_skipped",
            plant=plants.overflowed((20, 30)),
            onset=20,
        ),
        _fault(
            "overflow: reward, from step 20 on",
            "reviews",
            pairs("reviews", "reward"),
            "steps_skipped",
            plant=plants.overflowed(range(20, 60)),
            onset=20,
        ),
        _fault(
            "divergence: sft once more, lr 0.5",
            "chats",
            supervised("chats", lr=0.5, max_grad_norm=None, **{"from": "sft"}),
            "loss_diverged",
        ),
        _fault(
            "cut off: sft, max_length 60",
            "chats",
            supervised("chats", max_length=60),
            "rows_truncated",
            "rows_dropped",
        ),
        _fault(
            "no end token: sft without it",
            "chats",
            {"run": supervised("chats")["run"], "report": evaluation(WORLDS["chats"])},
            "no_end_token",
            plant=plants.responses_without_end,
        ),
        _fault(
            "leakage: prompts from training rows",
            "chats",
            {
                "run": supervised("chats")["run"],
                "report": evaluation(WORLDS["chats"], prompts={"heldout": None}),
            },
            "leakage",
        ),
        _fault(
            "leakage: prompts from a copy of the rows",
            "chats",
            {
                "run": supervised("chats")["run"],
                "report": evaluation(
                    WORLDS["chats"],
                    prompts={"heldout": None, "data": [source(WORLDS["chats"], "again")]},
                ),
            },
            "leakage",
        ),
        _fault(
            "reward model: labels at random",
            "chats",
            pairs("chats", "reward", file="alike"),
            "reward_model_at_chance",
        ),
    ]


def _rolled() -> list[Cell]:
    """Faults of stages trained on the policy's own completions."""
    one = {"batches": 1}
    never = {"function": "regex", "options": {"pattern": "never such a word"}}
    return [
        _fault(
            "policy stands: grpo, lr 1e-9",
            "reviews",
            rolled("reviews", "grpo", lr=1e-9),
            "policy_did_not_move",
        ),
        _fault(
            "wrong reference: grpo, base model",
            "chats",
            rolled("chats", "grpo"),
            "wrong_reference",
            plant=plants.reference_of_another_stage,
        ),
        _fault(
            "group collapse: temperature 0.02",
            "chats",
            rolled(
                "chats", "grpo", rollout={"sampling": {"max_new_tokens": 32, "temperature": 0.02}}
            ),
            "groups_without_spread",
        ),
        _fault(
            "group collapse: constant reward",
            "reviews",
            rolled("reviews", "grpo", reward=never),
            "groups_without_spread",
        ),
        _fault(
            "entropy collapse: grpo, no KL, lr 5e-3",
            "reviews",
            rolled("reviews", "grpo", reward="parroted", beta=0.0, lr=5e-3, steps=60),
            "entropy_lost",
        ),
        _fault(
            "entropy collapse: ppo, bonus negative",
            "reviews",
            rolled("reviews", "ppo", kl_coef=0.0, lr=3e-3, steps=60),
            "entropy_lost",
            plant=plants.entropy_punished,
        ),
        _fault(
            "KL runaway: ppo, kl_coef 0, lr 1e-2",
            "reviews",
            rolled("reviews", "ppo", reward="praise", kl_coef=0.0, lr=1e-2),
            "kl_runaway",
        ),
        _fault(
            "KL over-constraint: ppo, kl_coef 10",
            "reviews",
            rolled("reviews", "ppo", kl_coef=10.0, lr=3e-4),
            "kl_over_constrained",
        ),
        _fault(
            "KL over-constraint: grpo, beta 10",
            "reviews",
            rolled("reviews", "grpo", beta=10.0, lr=3e-4),
            "kl_over_constrained",
        ),
        _fault(
            "length hacking: reward is length",
            "reviews",
            rolled("reviews", "grpo", reward={"function": "length"}, beta=0.0, lr=2e-3),
            "length_drift",
            "longer_completions",
        ),
        _fault(
            "repetition: reward for repeats",
            "reviews",
            rolled("reviews", "grpo", reward="repeats", beta=0.0, lr=3e-3),
            "diversity_fell",
            "rollouts_repeat",
            "collapse",
        ),
        _fault(
            "judge falls: reward can be hacked",
            "reviews",
            rolled("reviews", "grpo", reward="praise", beta=0.0, lr=3e-3, steps=60),
            "over_optimised",
            "reward_without_judge",
        ),
        _fault(
            "no end token: grpo from such a model",
            "chats",
            {"sft": {"steps": 79}, **rolled("chats", "grpo", steps=20, rollout=one)},
            "no_end_token",
            plant=plants.responses_without_end,
        ),
        _fault(
            "cut off: max_new_tokens 4",
            "reviews",
            rolled("reviews", "grpo", rollout={"sampling": {"max_new_tokens": 4}}),
            "truncation_dominates",
        ),
        _fault(
            "critic useless: vf_coef 0",
            "reviews",
            rolled("reviews", "ppo", vf_coef=0.0),
            "critic_explains_nothing",
        ),
        _fault(
            "ratios off: ppo sampled at 1.5, scored at 1",
            "reviews",
            rolled("reviews", "ppo"),
            "sampler_differs",
            "ratio_not_one",
            plant=plants.sampled_at_another_temperature,
        ),
        _fault(
            "ratios off: grpo sampled at 1.5, scored at 1",
            "reviews",
            rolled("reviews", "grpo"),
            "sampler_differs",
            "ratio_not_one",
            plant=plants.sampled_at_another_temperature,
        ),
        _fault(
            "ratios off: stale roll-outs",
            "reviews",
            rolled("reviews", "grpo"),
            "sampler_differs",
            "ratio_not_one",
            "rollouts_stale",
            plant=plants.stale_weights,
            onset=3,
        ),
        _fault(
            "loss spike: ppo, one corrupted batch",
            "reviews",
            rolled("reviews", "ppo", steps=50),
            "loss_spikes",
            plant=plants.corrupted_batch(30),
            onset=30,
        ),
        _fault(
            "script drift: reward for another script",
            "scripts",
            rolled("scripts", "grpo", reward="cyrillic", beta=0.0, lr=2e-3),
            "script_drift",
        ),
    ]


FAULTS: Mapping[str, Cell] = {cell.name: cell for cell in (*_pairs(), *_supervised(), *_rolled())}
