"""Scorers: functions from prompts and completions to numbers; by name, or any reward's."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from accord.config.rewards import RewardTerm
from accord.config.stages import EvaluateStage
from accord.errors import AccordError, did_you_mean
from accord.evaluation.likelihood import Policy, sequence_logps
from accord.evaluation.samples import Prompt, Sample, answer_of
from accord.rewards.answer import Reward
from accord.rewards.functions import reward_function
from accord.rewards.total import LoadModel, reward_of

Score = Callable[[Sequence[Prompt], Sequence[Sample]], list[float]]


def rewarded(reward: Reward) -> Score:
    """A reward as a scorer."""
    return partial(_rewards, reward)


def _rewards(reward: Reward, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> list[float]:
    return reward([answer_of(p, s) for p, s in zip(prompts, samples, strict=True)])


def _function(name: str, _: Policy) -> Score:
    return rewarded(reward_function(RewardTerm(function=name)))


def fluency(reference: Policy) -> Score:
    """Mean log-probability a token (nats, end token included) under the reference model."""
    return partial(_mean_logps, reference)


def _mean_logps(
    reference: Policy, prompts: Sequence[Prompt], samples: Sequence[Sample]
) -> list[float]:
    return [s.mean for s in sequence_logps(reference, prompts, samples)]


SCORERS: Mapping[str, Callable[[Policy], Score]] = {
    "vader": partial(_function, "vader"),
    "length": partial(_function, "length"),
    "fluency": fluency,
}


def scorer(name: str, reference: Policy) -> Score:
    """The scorer of that name, judging with `reference` where it needs a model.

    Raises:
        AccordError: If there is none of that name, or what it needs is not installed.
    """
    if name not in SCORERS:
        raise AccordError(f"There is no scorer '{name}'.", "scorers", did_you_mean(name, SCORERS))
    return SCORERS[name](reference)


def scorers(config: EvaluateStage, reference: Policy, load_model: LoadModel) -> dict[str, Score]:
    """Every scorer of an evaluation by its name, the named ones first.

    Args:
        config: The evaluate stage's settings.
        reference: Whose likelihood is judged by.
        load_model: Stage or folder of a reward model to its reward.

    Raises:
        AccordError: One is unknown, lacks a library, or has another's name.
    """
    found = {name: scorer(name, reference) for name in config.scorers}
    for name, term in config.rewards.items():
        if name in SCORERS:
            raise AccordError(
                f"A reward is called '{name}', as a scorer is.", "rewards", "call it otherwise"
            )
        found[name] = rewarded(reward_of(term, load_model))
    return found
