"""A policy and the critic that values its states, trained together."""

from torch import Tensor, nn

from accord.data.batch import TokenBatch
from accord.model.decoder import Decoder
from accord.model.plan import predicting_hidden
from accord.model.scorer import Scorer


class ActorCritic(nn.Module):
    """Two models under one root, so that one optimiser and one sharding hold both.

    Args:
        policy: The decoder that acts.
        critic: Reads the states before each token; its trunk may be the policy itself.
    """

    def __init__(self, policy: Decoder, critic: Scorer) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    @property
    def shares(self) -> bool:
        """Whether the critic reads the policy's own hidden states."""
        return self.critic.trunk is self.policy

    def values(self, batch: TokenBatch, hidden_SD: Tensor) -> Tensor:
        """Value of the state before each scored token, float32 [S].

        Args:
            batch: What the policy read.
            hidden_SD: The policy's hidden states that predict the scored tokens.
        """
        if self.shares:
            return self.critic.values(hidden_SD)
        return self.critic.values(predicting_hidden(self.critic.trunk, batch))


def with_shared_critic(policy: Decoder) -> ActorCritic:
    """A value head of zeros on the policy's own trunk."""
    critic = Scorer(policy.config, "last")
    critic.trunk = policy
    nn.init.zeros_(critic.score.weight)
    return ActorCritic(policy, critic)
