"""The stages that train a policy on its own completions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.stages import Config, Data, Model, Out, Ranks, Settings, single, sources

TAKES_SETTINGS = frozenset({"ppo", "grpo", "online"})

Reward = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        help="Reward function by name, or folder of a reward model; may be repeated.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (ppo, grpo, online):
        app.command()(command)


def ppo(
    out: Out,
    model: Model = None,
    data: Data = None,
    reward: Reward = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Maximise a reward with PPO and a critic.

    The model answers the prompts of the data; the starting model itself, frozen, is the reference.

    Defaults: epochs=1 lr=1e-6 batch_size=64 kl_coef=0.05 rollout.iterations=1
    rollout.sampling.temperature=1.0 rollout.sampling.max_new_tokens=64
    """
    _policy("ppo", model, data, reward, out, config, settings, ranks)


def grpo(
    out: Out,
    model: Model = None,
    data: Data = None,
    reward: Reward = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Maximise a reward with GRPO and its family.

    Completions of a prompt are compared with each other; no critic is needed.

    Defaults: epochs=1 lr=1e-6 batch_size=8 num_generations=8 loss_type=dapo
    advantage=group scale_rewards=group rollout.sampling.temperature=1.0
    """
    _policy("grpo", model, data, reward, out, config, settings, ranks)


def online(
    out: Out,
    model: Model = None,
    data: Data = None,
    reward: Reward = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Align a model with preferences between its own completions (online DPO).

    A reward ranks the completions of a prompt; the best and the worst make the pair.

    Defaults: epochs=1 lr=1e-6 batch_size=16 num_generations=4 loss=sigmoid beta=0.1
    """
    _policy("online", model, data, reward, out, config, settings, ranks)


def _policy(
    kind: str,
    model: str | None,
    data: list[str] | None,
    reward: list[str] | None,
    out: Path,
    config: Path | None,
    settings: list[str] | None,
    ranks: int,
) -> None:
    from accord.pipeline.single import reward_terms

    given: dict[str, Any] = {"data": sources(data), "from": model, "reward": reward_terms(reward)}
    single(kind, given, out, config, settings, ranks)
