"""Several rewards as one: each judged on its own, then added up by weight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord.config.rewards import RewardTerm
from accord.errors import AccordError
from accord.rewards.answer import Answer, Reward
from accord.rewards.functions import reward_function

LoadModel = Callable[[str], Reward]
"""The name of a reward model (stage or folder) to the reward it gives."""


@dataclass(frozen=True)
class Scored:
    """What answers are worth.

    Args:
        total: The weighted sum, one number an answer.
        parts: Each term's own numbers, before its weight, by the term's label.
    """

    total: list[float]
    parts: dict[str, list[float]]


@dataclass(frozen=True)
class Rewards:
    """A weighted sum of rewards.

    Args:
        rewards: Each reward by its label.
        weights: Each label's weight.
    """

    rewards: dict[str, Reward]
    weights: dict[str, float]

    def __call__(self, answers: Sequence[Answer]) -> Scored:
        """Judge answers.

        Raises:
            AccordError: A reward fails; names the sample.
        """
        parts = {label: _judged(label, reward, answers) for label, reward in self.rewards.items()}
        total = [
            sum(self.weights[label] * values[i] for label, values in parts.items())
            for i in range(len(answers))
        ]
        return Scored([float(value) for value in total], parts)


def rewards_of(terms: Sequence[RewardTerm], load_model: LoadModel) -> Rewards:
    """The weighted sum that a recipe's terms describe; equal labels are told apart by a number.

    Raises:
        AccordError: A function is unknown or lacks its library; a model cannot be loaded.
    """
    rewards: dict[str, Reward] = {}
    weights: dict[str, float] = {}
    for term in terms:
        label = _free(term.label, rewards)
        rewards[label] = reward_of(term, load_model)
        weights[label] = term.weight
    return Rewards(rewards, weights)


def reward_of(term: RewardTerm, load_model: LoadModel) -> Reward:
    """The reward of one term, its weight left out."""
    return load_model(term.model) if term.model is not None else reward_function(term)


def _judged(label: str, reward: Reward, answers: Sequence[Answer]) -> list[float]:
    values = reward(answers)
    if len(values) != len(answers):
        raise AccordError(f"The reward '{label}' gave {len(values)} numbers for {len(answers)}.")
    return values


def _free(label: str, taken: dict[str, Reward]) -> str:
    """The label, numbered from 2 where it is taken."""
    number, free = 1, label
    while free in taken:
        number += 1
        free = f"{label} {number}"
    return free
