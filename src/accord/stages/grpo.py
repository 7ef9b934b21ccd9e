"""The GRPO family: completions of a prompt compared with each other."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from accord.config.rl import GRPOStage
from accord.data.buffer import pack_experiences, unpack_experiences
from accord.data.experience import Experience, ExperienceBatch, collate_experience
from accord.data.packing import Example, Response
from accord.objectives.advantages import group_advantages, reinforce_plus_plus, rloo
from accord.stages.collector import Figures, moved_past
from accord.stages.context import StageContext
from accord.stages.drawing import Floats
from accord.stages.online_policy import leave_policy, open_policy, train_policy
from accord.stages.policy_steps import grpo_step
from accord.stages.rollouts import Group


def run(config: GRPOStage, context: StageContext) -> None:
    """Collect groups, update the policy on them, leave a model folder."""
    policy = open_policy(config, context)
    step = grpo_step(config, policy.drawing)
    trainer = train_policy(policy, policy.model, GroupRelative(config), step)
    leave_policy(policy, trainer)


class GroupRelative:
    """A `collector.Algorithm`: advantages within each group.

    Args:
        config: The stage's settings.
    """

    def __init__(self, config: GRPOStage) -> None:
        self.config, self.attempts = config, config.dynamic_sampling
        # rows used at once are used by the policy that drew them
        self.rescores = config.rollout.batches * config.rollout.iterations > 1
        self.needs_reference = config.beta > 0

    def keeps(self, group: Group) -> bool:
        """Whether rewards differ within the group."""
        return max(group.scores) > min(group.scores)

    def rows(self, groups: Sequence[Group]) -> tuple[list[Experience], Figures]:
        """A row a group: each token carries its completion's advantage."""
        rewards_GK = torch.tensor([group.scores for group in groups], dtype=torch.float64)
        advantages_GK = self._advantages(rewards_GK)
        return [
            self._row(group, advantages.numpy())
            for group, advantages in zip(groups, advantages_GK, strict=True)
        ], {}

    def _advantages(self, rewards_GK: Tensor) -> Tensor:
        match self.config.advantage:
            case "rloo":
                return rloo(rewards_GK)
            case "reinforce_plus_plus":
                return reinforce_plus_plus(rewards_GK)
            case _:
                return group_advantages(rewards_GK, self.config.scale_rewards)[0]

    def _row(self, group: Group, advantages: np.ndarray) -> Experience:
        trained = [
            how != "length" or not self.config.mask_truncated_completions for how in group.finished
        ]
        kept = np.repeat(trained, group.lengths)
        each = np.repeat(advantages, group.lengths).astype(np.float32)
        responses = tuple(
            Response(response.ids, (whole,) * len(response.ids))
            for response, whole in zip(group.example.responses, trained, strict=True)
        )
        support = group.support
        return Experience(
            Example(group.example.prompt, responses, group.example.row_id),
            each[kept],
            old_logps=_at(group.old_logps, kept),
            ref_logps=_at(group.ref_logps, kept) if self.needs_reference else None,
            support=None
            if support is None
            else tuple(ids for ids, keep in zip(support, kept, strict=True) if keep),
        )

    def collate(self, rows: Sequence[Experience]) -> ExperienceBatch:
        """A group's completions share their prompt."""
        return collate_experience(rows)

    def leaves(self, figures: Mapping[str, tuple[float, float]]) -> bool:
        """Whether the step's approximate KL from the roll-out is past `kl_stop`."""
        return moved_past(figures, self.config.kl_stop)

    def pack(self, rows: Sequence[Experience]) -> dict[str, Tensor]:
        """Rows as tensors."""
        return pack_experiences(rows)

    def unpack(self, tensors: Mapping[str, Tensor]) -> list[Experience]:
        """Rows from tensors."""
        return unpack_experiences(tensors)


def _at(column: Floats | None, kept: np.ndarray) -> Floats | None:
    return None if column is None else column[kept]
