"""What the loop does with a roll-out's rows: the GRPO family's step and PPO's."""

from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from accord.config.rl import GRPOStage, PPOStage
from accord.data.batch import TokenBatch
from accord.data.experience import ExperienceBatch
from accord.model.actor_critic import ActorCritic
from accord.model.plan import predicting_hidden
from accord.objectives.loss import Loss
from accord.objectives.policy import PPO_NAMES, PolicySettings, policy_loss
from accord.objectives.values import value_loss
from accord.stages.drawing import Drawing
from accord.stages.steps import Step


def grpo_step(config: GRPOStage, drawing: Drawing) -> Step:
    """The clipped policy loss of a group's tokens, added up as `loss_type` says."""
    settings = PolicySettings(
        loss_type=config.loss_type,
        importance=config.importance_sampling_level,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        beta=config.beta,
        kl_estimator=config.kl_estimator,
        max_length=config.rollout.sampling.max_new_tokens,
    )

    def step(model: Any, batch: TokenBatch) -> Loss:
        rows = cast(ExperienceBatch, batch)
        hidden_SD = predicting_hidden(model, rows)
        logps_S, stats = drawing.logps(model, rows, hidden_SD, rows.support)
        loss = _policy_loss(logps_S, rows, settings)
        return replace(loss, metrics={**loss.metrics, "entropy": _mean(stats.entropy_S)})

    return step


def ppo_step(config: PPOStage, drawing: Drawing) -> Step:
    """The clipped policy loss, the clipped value loss and the entropy, all means over tokens."""
    settings = PolicySettings(loss_type="dapo", epsilon=config.cliprange)

    def step(model: ActorCritic, batch: TokenBatch) -> Loss:
        rows = cast(ExperienceBatch, batch)
        assert rows.returns_S is not None and rows.values_S is not None
        hidden_SD = predicting_hidden(model.policy, rows)
        logps_S, entropy_S = _logps(config, drawing, model.policy, rows, hidden_SD)
        policy = _policy_loss(logps_S, rows, settings)
        values_S = model.values(rows, hidden_SD)
        value = value_loss(values_S, rows.returns_S, rows.values_S, config.cliprange_value)
        total = policy.total + config.vf_coef * value.total - config.entropy_coef * entropy_S.sum()
        metrics = {PPO_NAMES.get(name, name): pair for name, pair in policy.metrics.items()}
        metrics |= {"policy/entropy_avg": _mean(entropy_S.detach()), **value.metrics}
        return Loss(total, policy.weight, metrics)

    return step


def _logps(
    config: PPOStage, drawing: Drawing, model: Any, rows: ExperienceBatch, hidden_SD: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies; the latter with a gradient only where it is asked for."""
    if config.entropy_coef:
        return drawing.logps_entropies(model, rows, hidden_SD, rows.support)[:2]
    logps_S, stats = drawing.logps(model, rows, hidden_SD, rows.support)
    return logps_S, stats.entropy_S


def _policy_loss(logps_S: Tensor, rows: ExperienceBatch, settings: PolicySettings) -> Loss:
    assert rows.advantages_S is not None
    # a policy that has not moved since the roll-out is its own old one: every ratio is 1
    old_logps_S = logps_S.detach() if rows.old_logps_S is None else rows.old_logps_S
    return policy_loss(
        logps_S,
        old_logps_S,
        rows.advantages_S,
        rows.sequence_S,
        rows.sequences,
        settings,
        rows.ref_logps_S,
    )


def _mean(values_S: Tensor) -> tuple[Tensor, Tensor]:
    return values_S.sum(), values_S.new_tensor(float(len(values_S)))
