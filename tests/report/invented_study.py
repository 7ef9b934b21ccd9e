"""An invented study: four variants, three seeds, four policies, sixteen prompts.

None of it was measured; it exists to have something to draw.
"""

from typing import Any

import numpy as np

from accord.evaluation.study.document import study_document
from accord.evaluation.study.table import Cell

PHASE_1 = {"temperature": 0.7, "top_k": 50, "max_new_tokens": 64}
PHASE_5 = {"temperature": 0.3, "top_k": 20, "max_new_tokens": 96}
TRAINED = {"stages.dpo.beta": 0.3, "stages.dpo.lr": 5e-6, "stages.grpo.num_generations": 8,
           "stages.ppo.kl_coef": 0.1}  # fmt: skip
VARIANTS = {
    "phase 1": ({}, PHASE_1),
    "phase 1 sampled as 5": ({}, PHASE_5),
    "phase 5 sampled as 1": (TRAINED, PHASE_1),
    "phase 5": (TRAINED, PHASE_5),
}
KINDS = {"sft": "sft", "rm": "reward", "dpo": "preference", "ppo": "ppo", "grpo": "grpo"}
LEVEL = {"sft": 0.0, "ppo": 0.9, "grpo": 0.4, "dpo": 1.6}
KL = {"sft": 0.0, "ppo": 6.0, "grpo": 3.5, "dpo": 11.0}
HOSTILE = '<script>alert("x")</script> & <b>bold</b>'
PROMPTS = [f"What is the capital of country number {i}?" for i in range(15)]
PROMPTS.append("Write a poem about the sea and what it hides from those who only look at it")
SETTINGS = {
    "stages.sft.kind": "sft",
    "stages.rm.kind": "reward",
    "stages.rm.from": "sft",
    **{f"stages.{name}.kind": KINDS[name] for name in ("dpo", "ppo", "grpo")},
    **{f"stages.{name}.from": "sft" for name in ("dpo", "ppo", "grpo")},
    "stages.dpo.beta": 0.1,
    "stages.dpo.lr": 1e-5,
    "stages.grpo.num_generations": 4,
    "stages.ppo.kl_coef": 0.01,
    "stages.report.kind": "evaluate",
    "stages.report.reference": "sft",
    "stages.report.policies": list(LEVEL),
    "stages.report.rewards": {"learned": {"model": "rm"}},
}


def invented_study() -> dict[str, Any]:
    """The document of the whole study."""
    return study_document(cells(), "Four ways to align (invented numbers)", resamples=1000)


def cells(seeds: int = 3) -> list[Cell]:
    """Its runs."""
    return [_cell(name, seed) for seed in range(1, seeds + 1) for name in VARIANTS]


def _cell(variant: str, seed: int) -> Cell:
    changed, sampling = VARIANTS[variant]
    place = list(VARIANTS).index(variant)
    evaluation = _evaluation(sampling, bool(changed), seed, np.random.default_rng([seed, place]))
    keys = {f"stages.report.sampling.{key}": value for key, value in sampling.items()}
    trained = np.random.default_rng([seed, bool(changed), 7])
    return Cell(
        variant, seed, evaluation, SETTINGS | changed | keys,
        _run(bool(changed), seed, trained, evaluation["policies"]),
    )  # fmt: skip


def _evaluation(sampling: dict, tuned: bool, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    hard = np.random.default_rng(5).normal(0, 1.2, len(PROMPTS))
    calm = 1.1 if sampling is PHASE_5 else 0.0
    samples = []
    for i, prompt in enumerate(PROMPTS):
        wrote = {}
        for policy, level in LEVEL.items():
            reward = (
                level * (0.6 if tuned else 1.0)
                + calm
                + hard[i]
                + 0.1 * (seed - 2)
                + rng.normal(0, 0.25)
            )
            text = f" It is the city of {'x' * (i % 4 + 1)}, said {policy} " * (1 + i % 3)
            wrote[policy] = {
                "completion": HOSTILE if (i, policy) == (0, "dpo") else text,
                "ended": i % 2 == 0,
                "scores": {"length": float(rng.integers(10, 60)), "learned": float(reward)},
            }
        samples.append({"id": f"{i:04x}", "prompt": prompt, "continues": False, "policies": wrote})
    policies = {}
    for policy, kl in KL.items():
        value = kl * (0.5 if tuned else 1.0) * (1 + 0.1 * np.sin(seed)) if kl else 0.0
        policies[policy] = {"kl": {"mean": value, "ci95": [value * 0.9, value * 1.1], "n": 16}}
    protocol = {
        "reference": "sft", "policies": list(LEVEL), "scorers": ["length", "learned"],
        "rewards": {"learned": {"model": "rm"}}, "samples_per_prompt": 1, "sampling": sampling,
        "seed": 1,
    }  # fmt: skip
    return {"samples": samples, "policies": policies, "protocol": protocol}


def _run(tuned: bool, seed: int, rng: np.random.Generator, policies: dict) -> dict[str, Any]:
    curves = {name: _curves(kind, tuned, rng) for name, kind in KINDS.items()}
    return {
        "policies": policies,
        "stages": {
            name: {
                "kind": kind,
                "fingerprint": f"{name}-{seed}-{tuned and name not in ('sft', 'rm')}",
            }
            for name, kind in KINDS.items()
        },
        "curves": curves,
        "heldout": {
            "sft": {"stories": {"bits_per_byte": 2.1 + 0.01 * seed, "rows": 10}},
            "rm": {"accuracy": 0.7 + 0.01 * seed, "ece": 0.04, "length_correlation": 0.2},
        },
        "findings": _findings(tuned, seed),
    }


def _curves(kind: str, tuned: bool, rng: np.random.Generator) -> dict[str, list[list[float]]]:
    steps = range(1, 201)
    t = np.arange(1, 201) / 200
    noise = {k: rng.normal(0, 1, 200) for k in "abcd"}
    if kind in ("sft", "reward"):
        found = {"loss": 2 + 4 * np.exp(-5 * t) + 0.1 * noise["a"]}
    elif kind == "preference":
        margin = (3 if tuned else 14) * t + 0.8 * noise["a"] * t
        found = {
            "loss": np.log1p(np.exp(-np.clip(margin, -5, 30))),
            "rewards/margins": margin,
            "rewards/accuracies": np.clip(0.5 + t + 0.1 * noise["b"], 0, 1),
            "logps/chosen": -40 - 20 * t * (not tuned) + noise["c"],
        }
        found["eval_loss"] = found["loss"] + 0.05
    else:
        found = {
            "reward": 1.5 * (1 - np.exp(-4 * t)) + 0.2 * noise["a"],
            "objective/kl": 6 * t + 0.1 * noise["b"],
            "judges/vader/mean": 0.2 + 0.1 * t + 0.05 * noise["c"],
        }
        if kind == "grpo":
            found["reward_std"] = np.abs((1.2 if tuned else 1.0 - 0.97 * t) + 0.15 * noise["c"])
            found["frac_reward_zero_std"] = np.clip(
                (0.1 if tuned else 0.9 * t) + 0.05 * noise["d"], 0, 1
            )
    return {m: [[s, float(v)] for s, v in zip(steps, x, strict=True)] for m, x in found.items()}


def _findings(tuned: bool, seed: int) -> list[dict[str, Any]]:
    found = [_finding("difference", "info", "dpo", "dpo − sft = +1.", "")]
    if not tuned:
        sentence = f"dpo: the reward margin grew to {13 + seed}.0, far beyond what pairs can show."
        found.append(_finding("margin_explosion", "problem", "dpo", sentence, "raise beta"))
    if not tuned and seed > 1:
        sentence = "grpo: in 62% of the last groups all completions had the same reward."
        found.append(
            _finding("groups_without_spread", "warning", "grpo", sentence, "larger groups")
        )
    found.append(_finding("leakage", "info", "", "No evaluation prompt was trained on.", ""))
    return found


def _finding(name: str, severity: str, stage: str, sentence: str, remedy: str) -> dict[str, Any]:
    evidence = {"stage": stage} if stage else {}
    return {"name": name, "severity": severity, "sentence": sentence, "evidence": evidence,
            "remedy": remedy}  # fmt: skip
