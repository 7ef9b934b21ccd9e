"""Roll-out: tokens drawn from a model, and the log-probabilities they were drawn at."""

from accord.rollout.engine import Engine
from accord.rollout.requests import Completion
from accord.rollout.score import score, score_sampled, supports

__all__ = ["Completion", "Engine", "score", "score_sampled", "supports"]
