"""Online preference: the best and the worst of a prompt's completions make the pair."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from accord.config.rl import OnlineStage
from accord.data.batch import TokenBatch
from accord.data.buffer import pack_examples, unpack_examples
from accord.data.packing import Example, collate
from accord.stages.collector import Figures
from accord.stages.context import StageContext
from accord.stages.judged import best_and_worst
from accord.stages.online_policy import leave_policy, open_policy, train_policy
from accord.stages.reference import Reference
from accord.stages.rollouts import Group
from accord.stages.steps import preference_step


def run(config: OnlineStage, context: StageContext) -> None:
    """Collect groups, train on their best and worst completions, leave a model folder."""
    policy = open_policy(config, context)
    reference = Reference(policy.reference, "", config.ld_alpha)
    algorithm = BestAgainstWorst(reference)
    trainer = train_policy(policy, policy.model, algorithm, preference_step(config))
    leave_policy(policy, trainer)


class BestAgainstWorst:
    """A `collector.Algorithm`: a pair a prompt, with the reference's log-probabilities.

    Args:
        reference: Frozen; scores both sides over the whole vocabulary at temperature 1.
    """

    attempts = 0
    rescores = needs_reference = False

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def keeps(self, group: Group) -> bool:
        """Whether one completion is better than another."""
        return best_and_worst(group.scores) is not None

    def rows(self, groups: Sequence[Group]) -> tuple[list[Example], Figures]:
        """Pairs; groups whose rewards are all equal give none and are counted."""
        ends = [(group, best_and_worst(group.scores)) for group in groups]
        pairs = [_pair(group, *both) for group, both in ends if both is not None]
        figures: Figures = {"pairs_made": (float(len(pairs)), float(len(groups)))}
        return self._reference.in_memory(pairs), figures

    def collate(self, rows: Sequence[Example]) -> TokenBatch:
        """Both sides share their prompt."""
        return collate(rows)

    def leaves(self, figures: Mapping[str, tuple[float, float]]) -> bool:
        """Never: every pair is used."""
        return False

    def pack(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        """Pairs as tensors."""
        return pack_examples(rows)

    def unpack(self, tensors: Mapping[str, Tensor]) -> list[Example]:
        """Pairs from tensors."""
        return unpack_examples(tensors)


def _pair(group: Group, best: int, worst: int) -> Example:
    responses = group.example.responses
    return replace(group.example, responses=(responses[best], responses[worst]))
