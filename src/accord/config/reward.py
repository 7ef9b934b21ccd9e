"""The reward-model stage."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from accord.config.base import ChatTemplate, Strict
from accord.config.data import (
    HeldoutConfig,
    JudgedPairs,
    RatedPairs,
    SampledPairs,
    SourceConfig,
    pair_models,
)
from accord.config.model import check_shape
from accord.config.train import TrainConfig


class RatedGroups(Strict):
    """Rated texts compared with each other in groups: every two of a group whose ratings differ by
    the gap are a pair. Groups are drawn anew each epoch."""

    kind: Literal["groups"] = "groups"
    rating: str = "rating"
    """Field that holds the number."""
    gap: float = Field(default=1.5, ge=0)
    """Smallest difference of ratings that makes a pair."""
    size: int = Field(default=8, ge=2)
    """Texts a group; batch_size counts groups."""
    regression: float = Field(default=0.0, ge=0)
    """Weight of the squared error to the standardised rating, added to the pairs' loss."""
    every_token: float = Field(default=0.0, ge=0)
    """Weight of the squared error at every token of a text (causal): each beginning is to foretell
    the rating, which learns more from few texts and readies a critic."""
    heldout: RatedPairs = RatedPairs()
    """The held-out pairs that accuracy is measured on; a preference stage with the same pairs,
    data and seed holds out the same."""


class RewardStage(TrainConfig):
    """A reward model: a scalar for a prompt with its response, learned from preferences."""

    kind: Literal["reward"] = "reward"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of rows (--data in a command)."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str | None = Field(default=None, alias="from")
    """Stage or folder of the model whose trunk it starts from (--model in a command)."""
    tokenizer: str | None = None
    """Stage or folder of the tokenizer of a scorer trained from scratch."""
    model: dict[str, Any] = Field(default_factory=dict)
    """`preset` and any key of the model config, for a scorer trained from scratch."""
    architecture: Literal["causal", "bidirectional"] = "causal"
    """causal: value at the last token; bidirectional: mean over all tokens, each seeing all."""
    pairs: (
        Annotated[
            RatedPairs | RatedGroups | SampledPairs | JudgedPairs, Field(discriminator="kind")
        ]
        | None
    ) = None
    """How comparisons are made where the data has none."""
    use_margin: bool = False
    """Subtract the pair's margin column from the difference of scores (Llama 2)."""
    centering: float = Field(default=0.0, ge=0)
    """Weight of (r_w + r_l)², which keeps scores around zero."""
    baseline: bool = True
    """Fit a TF-IDF ridge on the same rows and report its accuracy on the same held-out pairs;
    needs scikit-learn."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""

    @field_validator("model")
    @classmethod
    def _known_preset(cls, model: dict[str, Any]) -> dict[str, Any]:
        return check_shape(model)

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        named = (self.tokenizer, self.from_, *(name for _, name in pair_models(self.pairs)))
        return tuple(dict.fromkeys(name for name in named if name))

    @model_validator(mode="after")
    def _origin(self) -> Self:
        if (self.from_ is None) == (self.tokenizer is None):
            raise ValueError("give from (a model's trunk) or tokenizer (train from scratch)")
        return self

    @model_validator(mode="after")
    def _beginnings(self) -> Self:
        every = isinstance(self.pairs, RatedGroups) and self.pairs.every_token
        if every and self.architecture == "bidirectional":
            raise ValueError(
                "every_token judges beginnings, and a bidirectional scorer sees the whole text at "
                "each token; leave it out or use architecture: causal"
            )
        return self
