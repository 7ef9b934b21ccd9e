"""Result documents of a healthy run, made to be spoilt in one place."""

import numpy as np

STEPS = 60


def statistics(**changes) -> dict:
    healthy = {"distinct_2": 0.6, "unique": 1.0, "ended": 0.95, "length": 20.0, "copies": 0.01}
    return {"scores": {}, "kl": {"mean": 0.0}, "statistics": {**healthy, **changes}}


def document(**of_dpo) -> dict:
    """A healthy preference run, whose policy's statistics may be changed."""
    policies = {"sft": statistics(), "dpo": statistics(**of_dpo)}
    policies["dpo"]["kl"] = {"mean": 5.0}
    return {
        "protocol": {"reference": "sft"},
        "policies": policies,
        "comparisons": [],
        "stages": {
            "sft": {"kind": "sft", "config": {}},
            "dpo": {"kind": "preference", "config": {"beta": 0.1}},
        },
        "curves": {"dpo": margins(margin=1.5, chosen=0.2)},
        "rows": {},
    }


def margins(margin: float, chosen: float) -> dict:
    return {
        "rewards/margins": [[1, 0.0], [2, margin]],
        "rewards/chosen": [[1, 0.0], [2, chosen]],
    }


def comparison(scorer: str, difference: float, low: float, high: float, policy="dpo") -> dict:
    return {
        "policy": policy,
        "reference": "sft",
        "scorer": scorer,
        "difference": difference,
        "ci95": [low, high],
        "win_rate": 0.5,
        "win_rate_ci95": [0.4, 0.6],
        "n": 256,
    }


def named(found: list[dict]) -> dict[str, dict]:
    return {finding["name"]: finding for finding in found}


def course(*levels: float, noise: float = 0.02, seed: int = 1) -> list[list[float]]:
    """A curve that goes straight from level to level, with noise."""
    at = np.linspace(0, len(levels) - 1, STEPS)
    values = np.interp(at, range(len(levels)), levels)
    values += np.random.default_rng(seed).normal(0, noise, STEPS) if noise else 0.0
    return [[step, float(value)] for step, value in enumerate(values, start=1)]


HEALTHY = {
    "reward": (0.0, 1.0, 1.2),
    "judges/vader/mean": (0.2, 0.5, 0.55),
    "objective/kl": (0.1, 3.0, 4.0),
    "unique": (0.99, 0.97, 0.95),
    "completions/mean_length": (18.0, 19.0, 19.5),
    "completions/clipped_ratio": (0.08, 0.05, 0.05),
    "sampling/sampling_logp_difference/mean": (0.001, 0.001),
}
"""Levels of what every policy stage logs."""
OF_KIND = {
    "ppo": {
        "policy/clipfrac_avg": (0.02, 0.1),
        "policy/entropy_avg": (2.5, 1.8),
        "critic/vf_explained_var": (-0.2, 0.4, 0.6),
    },
    "grpo": {
        "frac_reward_zero_std": (0.0, 0.05),
        "clip_ratio/region_mean": (0.0, 0.02),
        "entropy": (2.5, 1.8),
    },
    "online": {"rewards/margins": (0.0, 1.0, 1.4), "rewards/chosen": (0.0, 0.3)},
}


def policy_stage(kind: str, **changes: tuple[float, ...]) -> dict:
    """A document with one healthy policy stage named after its kind; `/` is `__` in changes."""
    levels = {**HEALTHY, **OF_KIND[kind]}
    levels |= {name.replace("__", "/"): levels for name, levels in changes.items()}
    curves = {name: course(*level) for name, level in levels.items()}
    if kind == "ppo":
        curves["val/ratio"] = course(*changes.get("val__ratio", (1.0, 1.0)), noise=0.002)
    if kind == "online":  # policy and reference are one at the first step
        curves["rewards/chosen"][0][1] = curves["rewards/margins"][0][1] = 0.0
    weight = {"kl_coef": 0.05} if kind == "ppo" else {"beta": 0.1}
    return {
        "stages": {kind: {"kind": kind, "config": {"kind": kind, **weight}}},
        "curves": {kind: curves},
    }
