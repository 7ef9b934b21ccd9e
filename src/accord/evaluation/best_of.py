"""Best-of-n: the completion that a reward likes best out of n by one policy, itself a policy.

It is no model of its own: it moves away from the policy only by choosing. How far, at most, is
known in closed form.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.config.stages import BestOf, EvaluateStage
from accord.evaluation.likelihood import Policy
from accord.evaluation.protocol import sample_policy
from accord.evaluation.samples import Prompt, Sample, answer_of
from accord.rewards.total import LoadModel, Rewards, rewards_of

BOUND = "log n - (n - 1) / n"
KL = (
    f"of best-of-n not measured but {BOUND}, its upper bound from the policy under the sampling "
    "that it draws with, met where no two completions are worth the same (Stiennon et al. 2020, "
    "arXiv 2009.01325; that it bounds: Beirami et al. 2024, arXiv 2401.01879)"
)


def kl_bound(n: int) -> float:
    """Most that best-of-n can differ from what it draws from: log n - (n - 1) / n, in nats."""
    return math.log(n) - (n - 1) / n


def kl_of(n: int, samples: Sequence[Sample], prompts: int) -> dict[str, Any]:
    """The bound in the form of a measured KL, marked as `bound`."""
    bound = kl_bound(n)
    tokens = sum(len(sample.ids) for sample in samples)
    return {
        "mean": bound,
        "ci95": [bound, bound],
        "n": prompts,
        "per_token": bound * len(samples) / tokens,
        "bound": BOUND,
    }


def judges_of(config: EvaluateStage, load_reward: LoadModel) -> dict[str, Rewards]:
    """What each best-of-n chooses by; mistakes are told before any sampling."""
    return {name: rewards_of(best.reward, load_reward) for name, best in config.best_of.items()}


def best_of(
    config: EvaluateStage,
    reference: Policy,
    prompts: Sequence[Prompt],
    judges: Mapping[str, Rewards],
    seed: int,
) -> dict[str, list[Sample]]:
    """Samples of every best-of-n of the stage, prompt by prompt, `samples_per_prompt` each.

    The largest n is drawn; a smaller one chooses among the first of the same completions, so that
    their differences are paired.

    Args:
        config: The evaluate stage's settings.
        reference: The policy that completions are drawn from.
        prompts: The fixed prompts.
        judges: From `judges_of`.
        seed: Of the samples, another than that of the policies' own.
    """
    if not judges:
        return {}
    most = max(best.n for best in config.best_of.values())
    count = config.samples_per_prompt * most
    drawn = sample_policy(reference, prompts, config.sampling, count, seed)
    groups = [drawn[at : at + most] for at in range(0, len(drawn), most)]
    each = [prompt for prompt in prompts for _ in range(config.samples_per_prompt)]
    return {
        name: _chosen(best, judges[name], each, groups) for name, best in config.best_of.items()
    }


def _chosen(
    best: BestOf, judge: Rewards, each: Sequence[Prompt], groups: Sequence[Sequence[Sample]]
) -> list[Sample]:
    """Of the first n of each group the first with the highest reward."""
    answers = [
        answer_of(prompt, sample)
        for prompt, group in zip(each, groups, strict=True)
        for sample in group[: best.n]
    ]
    scores = np.array(judge(answers).total).reshape(-1, best.n)
    return [group[place] for group, place in zip(groups, scores.argmax(1).tolist(), strict=True)]
