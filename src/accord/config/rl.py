"""Stages that train on the policy's own completions: PPO, the GRPO family, online preference."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from accord.config.base import ChatTemplate
from accord.config.data import HeldoutConfig, SourceConfig
from accord.config.preference import LabelLoss, LossSettings
from accord.config.rewards import RewardTerm, RolloutConfig
from accord.config.train import TrainConfig


class PPOStage(TrainConfig):
    """Proximal policy optimisation with a critic (arXiv 1707.06347, as in arXiv 2203.02155)."""

    kind: Literal["ppo"] = "ppo"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of prompts (--data in a command); batch_size counts prompts."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str = Field(alias="from")
    """Stage or folder of the model to start from (--model in a command); also the reference."""
    reward: tuple[RewardTerm, ...] = Field(min_length=1)
    """What is maximised: the weighted sum of these (--reward in a command)."""
    judges: tuple[RewardTerm, ...] = ()
    """Scored and logged on every roll-out, never trained on."""
    rollout: RolloutConfig = RolloutConfig()
    num_generations: int = Field(default=1, gt=0)
    """Completions a prompt."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Weight of each token's log π - log π_ref in the shaped reward."""
    kl_target: float | None = Field(default=None, gt=0)
    """Adapt kl_coef towards this KL a completion, in nats (arXiv 1909.08593); none: fixed."""
    kl_horizon: float = Field(default=10_000, gt=0)
    """Completions over which the adaptive coefficient moves."""
    kl_stop: float | None = Field(default=None, gt=0)
    """Leave the rest of a roll-out when a step's approximate KL from it passes this."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount γ of later rewards."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """λ of generalised advantage estimation."""
    whiten_advantages: bool = True
    """Give advantages mean 0 and standard deviation 1 over each roll-out."""
    whiten_rewards: bool = False
    """Divide shaped rewards by their standard deviation."""
    cliprange: float = Field(default=0.2, gt=0)
    """Clip ε of the importance ratio: it is not followed past 1 ± ε."""
    cliprange_value: float | None = Field(default=0.2, gt=0)
    """How far a value may move from the roll-out's before its error is clipped; none: no clip."""
    vf_coef: float = Field(default=0.1, ge=0)
    """Weight of the value function's loss beside the policy's."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the entropy a token, which is added to what is maximised."""
    critic: Literal["separate", "shared"] = "separate"
    """Where values come from: a model of its own, or a value head on the policy's own trunk."""
    critic_from: str | None = None
    """Stage or folder whose trunk (and score head) the separate critic starts from; none: from."""
    missing_end_penalty: float | None = Field(default=None, ge=0)
    """Subtracted from the reward of a completion that was cut off."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return _inputs(self.from_, self.critic_from, (*self.reward, *self.judges))


class GRPOStage(TrainConfig):
    """Group-relative policy optimisation and its family (arXiv 2402.03300)."""

    kind: Literal["grpo"] = "grpo"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of prompts (--data in a command); batch_size counts prompts."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str = Field(alias="from")
    """Stage or folder of the model to start from (--model in a command); also the reference."""
    reward: tuple[RewardTerm, ...] = Field(min_length=1)
    """What is maximised: the weighted sum of these (--reward in a command)."""
    judges: tuple[RewardTerm, ...] = ()
    """Scored and logged on every roll-out, never trained on."""
    rollout: RolloutConfig = RolloutConfig()
    num_generations: int = Field(default=8, ge=2)
    """Completions a prompt: the group."""
    advantage: Literal["group", "rloo", "reinforce_plus_plus"] = "group"
    """What a reward is compared with; group: the group's mean, scaled by scale_rewards; rloo: the
    mean of the others (arXiv 2402.14740); reinforce_plus_plus: the group's mean, then whitened
    over the roll-out (arXiv 2501.03262)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What `advantage: group` divides by: the standard deviation within the group, that of the
    whole roll-out (`batch`), or nothing."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo"] = "dapo"
    """How tokens are added up."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """What has an importance ratio; sequence: one ratio a completion (GSPO, arXiv 2507.18071)."""
    epsilon: float = Field(default=0.2, gt=0)
    """Clip of the importance ratio: it is not followed below 1 - epsilon, nor above 1 + epsilon."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clip (clip-higher, arXiv 2503.14476); none: epsilon. For cispo the ratio's cap is
    1 + epsilon_high."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL to the reference."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """How the KL to the reference is estimated at a token, with d = log π - log π_ref: k1 is d, k2
    is d²/2, k3 is exp(-d) - 1 + d."""
    dynamic_sampling: int = Field(default=0, ge=0)
    """Collect again up to so often in place of groups whose rewards are all equal (DAPO)."""
    mask_truncated_completions: bool = False
    """Leave completions that were cut off out of the loss."""
    missing_end_penalty: float | None = Field(default=None, ge=0)
    """Subtracted from the reward of a completion that was cut off."""
    kl_stop: float | None = Field(default=None, gt=0)
    """Leave the rest of a roll-out when a step's approximate KL from it passes this."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return _inputs(self.from_, None, (*self.reward, *self.judges))

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        if self.loss_type == "cispo" and self.importance_sampling_level == "sequence":
            raise ValueError("cispo weighs each token; use importance_sampling_level: token")
        return self


class OnlineStage(TrainConfig, LossSettings):
    """Preference optimisation on the policy's own completions, best against worst of k by a
    reward (online DPO, arXiv 2402.04792)."""

    kind: Literal["online"] = "online"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of prompts (--data in a command); batch_size counts prompts."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str = Field(alias="from")
    """Stage or folder of the model to start from (--model in a command); also the reference."""
    reward: tuple[RewardTerm, ...] = Field(min_length=1)
    """What ranks the completions: the weighted sum of these."""
    judges: tuple[RewardTerm, ...] = ()
    """Scored and logged on every roll-out, never trained on."""
    rollout: RolloutConfig = RolloutConfig()
    num_generations: int = Field(default=4, ge=2)
    """Completions a prompt, of which the best and the worst make the pair."""
    missing_end_penalty: float | None = Field(default=None, ge=0)
    """Subtracted from the reward of a completion that was cut off."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return _inputs(self.from_, None, (*self.reward, *self.judges))

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if isinstance(self.loss, str) and self.loss in get_args(LabelLoss):
            raise ValueError(f"{self.loss} is for labelled answers; give a loss of pairs")
        if self.whole_steps and (self.micro_batch_size or self.micro_batch_tokens):
            raise ValueError(
                "aot sorts all pairs of a step; leave out micro_batch_size and micro_batch_tokens"
            )
        return self


RLStage = PPOStage | GRPOStage | OnlineStage


def _inputs(start: str, critic: str | None, terms: tuple[RewardTerm, ...]) -> tuple[str, ...]:
    named = (start, critic, *(term.model for term in terms))
    return tuple(dict.fromkeys(name for name in named if name))
