"""The stages a recipe may name, one model a kind."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from accord.config.base import ChatTemplate, Strict
from accord.config.data import HeldoutConfig, SourceConfig
from accord.config.generate import SamplingConfig
from accord.config.lora import LoRAConfig
from accord.config.model import check_shape
from accord.config.preference import PreferenceStage
from accord.config.reward import RewardStage
from accord.config.rewards import RewardTerm
from accord.config.rl import GRPOStage, OnlineStage, PPOStage
from accord.config.train import TrainConfig


class TokenizerStage(Strict):
    """Train a byte-level BPE and save it as a Hugging Face folder."""

    kind: Literal["tokenizer"] = "tokenizer"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of rows (--data in a command)."""
    heldout: HeldoutConfig = HeldoutConfig()
    vocab_size: int = Field(default=4096, ge=257)
    """All tokens: 256 bytes, merges and special tokens."""
    pattern: str = "gpt4"
    """Split preset `gpt2`, `gpt4`, `indic`, or a regular expression of one's own."""
    special_tokens: tuple[str, ...] = ()
    """Further control tokens, after the end token and those of the chat template."""
    end_token: str = "<|endoftext|>"
    """Token that ends a document, and an answer where the template has none of its own."""
    pad_token: str = "<|pad|>"
    """Token that fills up batches elsewhere; it is never drawn and is not the end token."""
    chat_template: ChatTemplate = "plain"
    """Template that conversations are rendered with; its control tokens join the vocabulary."""
    seed: int | None = None
    """Seed that a source's `fraction` is drawn with; none: the recipe's."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return ()


class PretrainStage(TrainConfig):
    """Next-token training on packed text, from scratch or from a model folder."""

    kind: Literal["pretrain"] = "pretrain"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of rows (--data in a command)."""
    heldout: HeldoutConfig = HeldoutConfig()
    tokenizer: str | None = None
    """Stage or folder of the tokenizer; none: that of `from`."""
    from_: str | None = Field(default=None, alias="from")
    """Stage or folder of the model to continue (--model in a command); none: from scratch."""
    model: dict[str, Any] = Field(default_factory=dict)
    """`preset` and any key of the model config; vocab_size follows the tokenizer."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return tuple(name for name in (self.tokenizer, self.from_) if name)

    @model_validator(mode="after")
    def _origin(self) -> Self:
        if self.from_ is None and self.tokenizer is None:
            raise ValueError("give tokenizer (train from scratch) or from (continue a model)")
        return self

    @field_validator("model")
    @classmethod
    def _known_preset(cls, model: dict[str, Any]) -> dict[str, Any]:
        return check_shape(model)


class SFTStage(TrainConfig):
    """Supervised fine-tuning: response and end token only in the loss."""

    kind: Literal["sft"] = "sft"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of rows (--data in a command)."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str = Field(alias="from")
    """Stage or folder of the model to start from (--model in a command)."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""
    system_prompt: str | None = None
    """System turn that the chat template adds to a conversation without one; empty: it adds none;
    not set: what the template does."""
    pad_token: str | None = None
    """Pad token to add where the tokenizer has none or uses its end token; none: leave it as it
    is."""
    train_on: Literal["last", "all"] = "last"
    """Which assistant turns carry loss."""
    lora: LoRAConfig | None = None
    """Train low-rank adapters instead of the weights."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        return (self.from_,)


class PromptsConfig(Strict):
    """Evaluation prompts: written out, or taken from held-out rows."""

    texts: tuple[str, ...] = ()
    """The prompts themselves (--prompt in a command)."""
    data: tuple[SourceConfig, ...] = ()
    heldout: HeldoutConfig | None = None
    """Take the rows that training stages with the same settings hold out; none: all rows."""
    first_words: int | None = Field(default=None, gt=0)
    """Use the first words of a text as the prompt (a continuation, not a chat turn)."""
    count: int = Field(default=256, gt=0)
    """Prompts taken from data, in the order of their content hash."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.texts and not self.data:
            raise ValueError("no prompts are given; give texts or data")
        return self


class BestOf(Strict):
    """A policy that answers with the best of n completions of the reference."""

    n: int = Field(ge=2)
    """Completions that are chosen from."""
    reward: tuple[RewardTerm, ...] = Field(min_length=1)
    """What chooses: the weighted sum of these."""


SCORERS = ("vader", "length", "fluency")
"""Scorers by name, as `evaluation.scorers` has them."""


class EvaluateStage(Strict):
    """Sample every policy on the same prompts, score, compare with the reference, report."""

    kind: Literal["evaluate"] = "evaluate"
    policies: tuple[str, ...] = Field(min_length=1)
    """Stages or folders of the models to compare (--model in a command)."""
    reference: str
    """Stage or folder of the model that the others are compared with."""
    best_of: dict[str, BestOf] = Field(default_factory=dict)
    """Further policies by name, each the best of n completions of the reference by a reward, such
    as {bo4: {n: 4, reward: [{function: vader}]}}; their KL is the bound log n - (n - 1) / n."""
    prompts: PromptsConfig
    """What every policy answers (--prompt or --data in a command)."""
    sampling: SamplingConfig = SamplingConfig()
    samples_per_prompt: int = Field(default=1, gt=0)
    """Completions of each prompt by each policy."""
    scorers: tuple[str, ...] = ("length",)
    """`vader`, `length`, `fluency` (log-probability a token under the reference)."""
    rewards: dict[str, RewardTerm] = Field(default_factory=dict)
    """Further scorers by name: reward functions and reward models, such as
    {reward: {model: rm}, accuracy: {function: exact}}."""
    trained_prompts: Literal["refuse", "report"] = "refuse"
    """What comes of prompts that stand in a compared model's training rows: an error before
    anything is sampled, or a finding in the report."""
    copies_from: tuple[SourceConfig, ...] = ()
    """Training text in which 8-gram copies are looked for."""
    bootstrap: int = Field(default=2000, gt=0)
    """Resamples of the prompts that an interval rests on."""
    shown: int = Field(default=12, gt=0)
    """Prompts whose samples stand side by side in the report."""
    seed: int | None = None
    """Seed of the samples and of the bootstrap; none: the recipe's."""

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        choosing = (term for best in self.best_of.values() for term in best.reward)
        judges = (t.model for t in (*self.rewards.values(), *choosing) if t.model)
        return tuple(dict.fromkeys((self.reference, *self.policies, *judges)))

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        for name in self.best_of:
            if name in (self.reference, *self.policies):
                raise ValueError(
                    f"best_of calls a policy '{name}', as a stage is called; rename it"
                )
        return self


StageConfig = Annotated[
    TokenizerStage
    | PretrainStage
    | SFTStage
    | RewardStage
    | PreferenceStage
    | PPOStage
    | GRPOStage
    | OnlineStage
    | EvaluateStage,
    Field(discriminator="kind"),
]
