"""What a completion is worth: named functions and reward models, each with a weight."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Strict
from accord.config.functions import parse_function
from accord.config.generate import SamplingConfig


class RewardTerm(Strict):
    """One term of a reward: a function or a reward model."""

    function: str | None = None
    """`vader`, `length`, `regex`, `language`, `exact`, `math_verify`, `reasoning_gym:<task>` or
    `python:module:function`."""
    model: str | None = None
    """Stage or folder of a reward model."""
    weight: float = 1.0
    """The term's share of the sum."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the function takes, such as {pattern: '^[0-9]+$'} for `regex`."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds a function may take for one sample."""

    @property
    def label(self) -> str:
        """The term's name in metrics."""
        return self.function or self.model or ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.function is None) == (self.model is None):
            raise ValueError("a reward is either a function or a model; give one of the two keys")
        if self.function is not None:
            parse_function(self.function, self.options)
        elif self.options:
            raise ValueError("a reward model takes no options; delete them")
        return self


class RolloutConfig(Strict):
    """How completions are collected from the policy that is being trained."""

    first_words: int | None = Field(default=None, gt=0)
    """Use the first words of a text as the prompt (a continuation, not a chat turn)."""
    sampling: SamplingConfig = SamplingConfig()
    """The update scores tokens under the same temperature and support that they are drawn with."""
    batches: int = Field(default=1, gt=0)
    """Optimiser batches in one roll-out: it collects batches * batch_size prompts."""
    iterations: int = Field(default=1, gt=0)
    """Optimisation epochs over each roll-out."""
    slots: int = Field(default=64, gt=0)
    """Completions decoded at a time."""
    engine: Literal["accord", "vllm"] = "accord"
    """What completions are sampled with."""
    vllm_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take beside the training (CPUs: no effect)."""
    compile: bool = False
    """Let vLLM compile and capture graphs; the own engine's fused step gained nothing by it on a
    CPU."""
