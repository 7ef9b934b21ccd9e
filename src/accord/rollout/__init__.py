"""Roll-out: tokens drawn from a model, and the log-probabilities they were drawn at."""

from accord.rollout.engine import Completion, Engine
from accord.rollout.score import score, score_sampled, supports

__all__ = ["Completion", "Engine", "score", "score_sampled", "supports"]
