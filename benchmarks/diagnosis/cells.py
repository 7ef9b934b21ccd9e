"""Recipes of the stage that is looked at, by kind, and the evaluation that follows it."""

from collections.abc import Mapping
from typing import Any

from diagnosis.worlds import HELDOUT, WORLDS, Stages, World, source

TOKENS = 32
"""Tokens of a completion at most; a sound one takes half of that."""


def measure(name: str) -> dict[str, Any]:
    """A reward or judge by its name in `diagnosis.rewards`."""
    return {"function": f"python:diagnosis.rewards:{name}"}


def supervised(world: str, **settings: Any) -> Stages:
    """The SFT stage again, under the name that is looked at."""
    return {"run": {"kind": "sft", **_trained(world, "base", 60, 16, 3e-3), **settings}}


def pairs(world: str, kind: str = "preference", file: str = "", **settings: Any) -> Stages:
    """A stage on pairs, and the evaluation of its policy."""
    where = WORLDS[world]
    data = file or ("text" if where.pairs else "pairs")
    own = {"eval_rows": 64, "data": [source(where, data)]}
    own |= where.pairs if not file else {}
    if kind == "reward":
        own |= {"baseline": False}
        return {"run": {"kind": kind, **_trained(world, "sft", 60, 16, 2e-3), **own, **settings}}
    stage = {"kind": kind, **_trained(world, "sft", 60, 16, 5e-4), **own, "beta": 0.3, **settings}
    return {"run": stage, "report": evaluation(where)}


def rolled(
    world: str, kind: str, reward: str | Mapping[str, Any] = "mood", **settings: Any
) -> Stages:
    """A stage on the policy's own completions, and the evaluation of its policy."""
    where = WORLDS[world]
    rollout = {
        "batches": 2,
        "iterations": 1,
        "sampling": {"max_new_tokens": TOKENS},
        **({"first_words": 2} if where.prompts else {}),
        **settings.pop("rollout", {}),
    }
    own: dict[str, Any] = {
        "reward": [measure(reward) if isinstance(reward, str) else reward],
        "judges": [measure("form")],
        "rollout": rollout,
        "num_generations": 4,
    }
    own |= {"ppo": {"kl_coef": 0.05}, "grpo": {"beta": 0.05}, "online": {"beta": 0.3}}[kind]
    stage = {"kind": kind, **_trained(world, "sft", 40, 8, 1e-3), **own, **settings}
    return {"run": stage, "report": evaluation(where)}


def evaluation(world: World, **settings: Any) -> dict[str, Any]:
    """The policy beside its reference on held-out prompts, judged by what is really wanted."""
    prompts = {"data": [source(world)], "heldout": HELDOUT, "count": 64, **world.prompts}
    return {
        "kind": "evaluate",
        "reference": "sft",
        "policies": ["sft", "run"],
        "prompts": {**prompts, **settings.pop("prompts", {})},
        "sampling": {"max_new_tokens": TOKENS},
        "scorers": ["length", "fluency"],
        "rewards": {"mood": measure("mood"), "form": measure("form")},
        "bootstrap": 200,
        **settings,
    }


def _trained(world: str, start: str, steps: int, batch: int, lr: float) -> dict[str, Any]:
    return {
        "from": start,
        "heldout": HELDOUT,
        "data": [source(WORLDS[world])],
        "steps": steps,
        "batch_size": batch,
        "max_length": 96,
        "lr": lr,
        "schedule": "linear",
        "warmup_ratio": 0.1,
        "save_every": steps,
    }
