"""Runs of a made-up study: real `evaluation.json` shapes, scores chosen by the test."""

from collections.abc import Mapping, Sequence
from typing import Any

from accord.evaluation.study.table import Cell

PHASE_1 = {"temperature": 0.7, "top_k": 50, "max_new_tokens": 64}
PHASE_5 = {"temperature": 0.3, "top_k": 20, "max_new_tokens": 96}

RECIPE: Mapping[str, Any] = {
    "name": "study",
    "seed": 1,
    "stages.sft.kind": "sft",
    "stages.sft.lr": 1e-3,
    "stages.rm.kind": "reward",
    "stages.rm.from": "sft",
    "stages.rm.lr": 1e-3,
    "stages.grpo.kind": "grpo",
    "stages.grpo.from": "sft",
    "stages.grpo.reward": [{"model": "rm"}],
    "stages.grpo.num_generations": 4,
    "stages.grpo.lr": 1e-5,
    "stages.dpo.kind": "preference",
    "stages.dpo.from": "sft",
    "stages.dpo.beta": 0.1,
    "stages.report.kind": "evaluate",
    "stages.report.reference": "sft",
    "stages.report.policies": ["sft", "grpo", "dpo"],
    "stages.report.scorers": ["length"],
    "stages.report.rewards": {"learned": {"model": "rm"}},
    "stages.report.sampling": PHASE_1,
}

Scored = Mapping[str, Mapping[str, Sequence[float]]]
"""Policy, scorer to a score for each prompt."""


def settings(**changed: Any) -> dict[str, Any]:
    """The recipe with keys of its stages set: `grpo__lr=…` is `stages.grpo.lr`."""
    return RECIPE | {f"stages.{k.replace('__', '.')}": v for k, v in changed.items()}


def evaluation(scored: Scored, ids: Sequence[str], **protocol: Any) -> dict[str, Any]:
    """An `evaluation.json` with these scores."""
    scorers = list(next(iter(scored.values())))
    return {
        "samples": [
            {
                "id": prompt,
                "prompt": f"text of {prompt}",
                "continues": False,
                "policies": {
                    policy: {
                        "completion": "",
                        "ended": True,
                        "scores": {name: values[i] for name, values in by_scorer.items()},
                    }
                    for policy, by_scorer in scored.items()
                },
            }
            for i, prompt in enumerate(ids)
        ],
        "protocol": {
            "reference": "sft",
            "policies": list(scored),
            "scorers": scorers,
            "rewards": {},
            "samples_per_prompt": 1,
            "sampling": PHASE_1,
            "seed": 1,
            **protocol,
        },
    }


def cell(
    scored: Scored,
    variant: str = "base",
    seed: int = 1,
    ids: Sequence[str] = (),
    resolved: Mapping[str, Any] = RECIPE,
    **protocol: Any,
) -> Cell:
    """One evaluated run."""
    count = len(next(iter(next(iter(scored.values())).values())))
    names = list(ids) or [f"p{i:03}" for i in range(count)]
    return Cell(variant, seed, evaluation(scored, names, **protocol), {**resolved, "seed": seed})
