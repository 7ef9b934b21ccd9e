"""Rewards: what an answer is worth, by functions, reward models and weighted sums of them."""

from accord.rewards.answer import Answer, Reward
from accord.rewards.total import Rewards, Scored, reward_of, rewards_of

__all__ = ["Answer", "Reward", "Rewards", "Scored", "reward_of", "rewards_of"]
