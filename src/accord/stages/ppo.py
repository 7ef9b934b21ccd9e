"""Proximal policy optimisation: a critic values each state, advantages are estimated from it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord.checkpoint.folder import load_model
from accord.checkpoint.scorer_folder import holds_scorer, load_scorer, save_scorer
from accord.config.rl import PPOStage
from accord.data.buffer import pack_experiences, unpack_experiences
from accord.data.experience import Experience, ExperienceBatch, collate_experience
from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.model.actor_critic import ActorCritic, with_shared_critic
from accord.model.plan import predicting_hidden
from accord.model.scorer import Scorer
from accord.objectives.advantages import adapt_kl, gae, shaped_rewards, whiten
from accord.objectives.values import explained_variance
from accord.stages.collector import Figures, moved_past
from accord.stages.context import StageContext
from accord.stages.drawing import Floats, chunks
from accord.stages.models import check_same_tokens
from accord.stages.online_policy import OpenPolicy, leave_policy, open_policy, train_policy
from accord.stages.policy_steps import ppo_step
from accord.stages.rollouts import Group

CRITIC = Path("accord") / "critic"


def run(config: PPOStage, context: StageContext) -> None:
    """Collect completions, update policy and critic on them, leave both as model folders."""
    policy = open_policy(config, context)
    model = actor_critic(config, context, policy)
    step = ppo_step(config, policy.drawing)
    trainer = train_policy(policy, model, Proximal(config), step, critic_values)

    def save_critic(weights: Mapping[str, Tensor]) -> None:
        critic = model.critic
        trained = Scorer(critic.trunk.config, critic.pooling)
        found = {n.removeprefix("critic."): w for n, w in weights.items() if n.startswith("critic")}
        if model.shares:
            # a scorer predicts no token: it has no output matrix of its own
            trunk = {
                n: w for n, w in weights.items() if not n.startswith(("critic.", "policy.head."))
            }
            found |= {n.replace("policy.", "trunk.", 1): w for n, w in trunk.items()}
        trained.load_state_dict(found)
        save_scorer(trained, context.folder / CRITIC, policy.tokenizer)

    leave_policy(policy, trainer, save_critic)


def actor_critic(config: PPOStage, context: StageContext, policy: OpenPolicy) -> ActorCritic:
    """The policy with the critic that the settings ask for."""
    if config.critic == "shared":
        return with_shared_critic(policy.model)
    folder = context.input(config.critic_from or config.from_)
    check_same_tokens(policy.tokenizer, folder)
    if holds_scorer(folder):
        critic = load_scorer(folder, torch.float32)
        if critic.pooling != "last":
            raise AccordError(
                "A bidirectional reward model sees the whole text: it cannot value its beginnings.",
                f"stages.{context.name}.critic_from",
                "name a causal reward model or a language model",
            )
    else:
        critic = Scorer.from_decoder(load_model(folder, torch.float32), "last", context.seed)
        torch.nn.init.zeros_(critic.score.weight)
    return ActorCritic(policy.model, critic)


@torch.no_grad()
def critic_values(model: ActorCritic, examples: Sequence[Example]) -> list[list[Floats]]:
    """The critic's value before each drawn token, and after the last, of each response.

    The state after the last token is read by pretending that one more token follows.
    """
    following = [_followed(example) for example in examples]
    values: list[list[Floats]] = [[] for _ in examples]
    for places in chunks(following):
        batch = collate([following[i] for i in places])
        batch = batch.to(next(model.parameters()).device)
        reader = model.policy if model.shares else model.critic.trunk
        values_S = model.critic.values(predicting_hidden(reader, batch)).float().cpu()
        sizes = [len(r.ids) for i in places for r in following[i].responses]
        parts = iter(values_S.split(sizes))
        for i in places:
            values[i] = [next(parts).numpy() for _ in following[i].responses]
    return values


def _followed(example: Example) -> Example:
    responses = tuple(
        Response((*response.ids, 0), (*response.mask, True)) for response in example.responses
    )
    return replace(example, responses=responses)


class Proximal:
    """A `collector.Algorithm`: shaped rewards and generalised advantages.

    Args:
        config: The stage's settings.
    """

    attempts = 0
    rescores = needs_reference = True

    def __init__(self, config: PPOStage) -> None:
        self.config, self.kl_coef = config, config.kl_coef

    def keeps(self, group: Group) -> bool:
        """Every completion teaches the critic."""
        return True

    def rows(self, groups: Sequence[Group]) -> tuple[list[Experience], Figures]:
        """A row a prompt; the KL coefficient adapts after it has been used."""
        config = self.config
        lengths_R = torch.tensor([length for group in groups for length in group.lengths])
        old_S, ref_S = (
            torch.from_numpy(np.concatenate([getattr(group, name) for group in groups])).double()
            for name in ("old_logps", "ref_logps")
        )
        scores_R = torch.tensor([s for group in groups for s in group.scores], dtype=torch.float64)
        rewards_S = shaped_rewards(scores_R, old_S, ref_S, lengths_R, self.kl_coef)
        if config.whiten_rewards:
            rewards_S = whiten(rewards_S, shift_mean=False)
        values = [v for group in groups for v in group.values or []]
        values_S = torch.from_numpy(np.concatenate([v[:-1] for v in values])).double()
        finished = [how for group in groups for how in group.finished]
        after = [v[-1] if how == "length" else 0.0 for v, how in zip(values, finished, strict=True)]
        bootstrap_R = torch.tensor(after, dtype=torch.float64)
        advantages_S, returns_S = gae(
            rewards_S, values_S, lengths_R, bootstrap_R, config.gamma, config.lam
        )
        figures = self._figures(scores_R, old_S - ref_S, values_S, returns_S)
        if config.whiten_advantages:
            advantages_S = whiten(advantages_S)
        if config.kl_target is not None:
            count = len(lengths_R)
            kl = float((old_S - ref_S).sum()) / count
            self.kl_coef = adapt_kl(self.kl_coef, kl, config.kl_target, config.kl_horizon, count)
        return _rows(groups, advantages_S, returns_S, values_S), figures

    def _figures(
        self, scores_R: Tensor, apart_S: Tensor, values_S: Tensor, returns_S: Tensor
    ) -> Figures:
        count, score = float(len(scores_R)), float(scores_R.sum())
        kept = -self.kl_coef * float(apart_S.sum())
        return {
            "objective/scores": (score, count),
            "objective/non_score_reward": (kept, count),
            "objective/rlhf_reward": (score + kept, count),
            "critic/vf_explained_var": (explained_variance(values_S, returns_S), 1.0),
            "kl_coef": (self.kl_coef, 1.0),
        }

    def collate(self, rows: Sequence[Experience]) -> ExperienceBatch:
        """Completions of a prompt share it."""
        return collate_experience(rows)

    def leaves(self, figures: Mapping[str, tuple[float, float]]) -> bool:
        """Whether the step's approximate KL from the roll-out is past `kl_stop`."""
        return moved_past(figures, self.config.kl_stop)

    def pack(self, rows: Sequence[Experience]) -> dict[str, Tensor]:
        """Rows and the KL coefficient."""
        coefficient = torch.tensor([self.kl_coef], dtype=torch.float64)
        return pack_experiences(rows) | {"kl_coef": coefficient}

    def unpack(self, tensors: Mapping[str, Tensor]) -> list[Experience]:
        """Rows and the KL coefficient."""
        self.kl_coef = float(tensors["kl_coef"])
        return unpack_experiences(tensors)


def _rows(
    groups: Sequence[Group], advantages_S: Tensor, returns_S: Tensor, values_S: Tensor
) -> list[Experience]:
    sizes = [sum(group.lengths) for group in groups]
    columns = (x.float().split(sizes) for x in (advantages_S, returns_S, values_S))
    return [
        Experience(
            group.example,
            advantages.numpy(),
            group.old_logps,
            returns=returns.numpy(),
            values=values.numpy(),
            support=group.support,
        )
        for group, advantages, returns, values in zip(groups, *columns, strict=True)
    ]
