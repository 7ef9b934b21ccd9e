"""The preference stage, and the settings of the preference losses it shares with online
preference."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from accord.config.base import ChatTemplate, Strict
from accord.config.data import HeldoutConfig, PairsConfig, SourceConfig, pair_models
from accord.config.lora import LoRAConfig
from accord.config.train import TrainConfig
from accord.errors import did_you_mean

PairLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "ipo",
    "ipo_sum",
    "hinge",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "simpo",
    "cpo",
    "orpo",
    "sft",
]
LabelLoss = Literal["kto", "apo_zero_unpaired"]
"""Losses of single answers that are wanted or not; pairs count as one of each."""

Positive = Annotated[float, Field(gt=0)]

SMOOTHED = frozenset(
    {"sigmoid", "sigmoid_norm", "robust", "exo_pair", "aot", "aot_unpaired", "simpo", "cpo"}
)
"""Losses that `label_smoothing` changes."""
DIVERGING = frozenset(
    {"sigmoid", "sigmoid_norm", "ipo", "ipo_sum", "hinge", "robust", "exo_pair", "discopop"}
)
"""Losses that `f_divergence_type` changes."""
CAPPED = frozenset({"sigmoid", "sigmoid_norm", "robust"})
"""Losses that `margin_cap` changes."""
WHOLE = frozenset({"aot", "aot_unpaired"})
"""Losses that sort all pairs of a step, which therefore must not be split."""
NEEDS_SMOOTHING = frozenset({"robust", "exo_pair"})
LENGTHENED = frozenset(get_args(PairLoss)) - {"sft"}
"""Losses that `ld_alpha` changes."""
FREE = frozenset({"simpo", "cpo", "orpo", "sft"})
"""Losses that need no reference."""


class LossSettings(Strict):
    """What a preference loss may be tuned by; names are TRL's."""

    loss: PairLoss | LabelLoss | dict[PairLoss, Positive] = "sigmoid"
    """One loss, or several with their weights: {sigmoid: 0.8, sft: 0.2}."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference (τ of ipo, λ of orpo)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """ε: the assumed share of pairs whose preference is the wrong way round."""
    margin_cap: float | None = Field(default=None, gt=0)
    """Clip beta * h to at most this; a pair past it gives no gradient."""
    ld_alpha: float | None = Field(default=None, ge=0, le=1)
    """Weight of the tokens past the shorter answer's length (LD-DPO, arXiv 2409.06411)."""
    weighting: Literal["none", "wpo", "wpo_aligned"] = "none"
    """Weigh pairs by how likely the policy is to write them (WPO, arXiv 2406.11827); aligned:
    relative to how likely the policy is to repeat its own tokens, as TRL's use_weighting."""
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = (
        "reverse_kl"
    )
    """Divergence to the reference (f-DPO, arXiv 2309.16240)."""
    f_alpha_divergence_coef: float = Field(default=0.5, gt=0)
    """α of the alpha divergence."""
    discopop_tau: float = Field(default=0.05, gt=0)
    """Temperature τ of the mixing weight σ(βh/τ) in discopop."""
    simpo_gamma: float = Field(default=0.5, ge=0)
    """Target margin γ of simpo."""
    cpo_alpha: float = Field(default=1.0, ge=0)
    """Weight of the chosen answer's negative log-probability in cpo."""

    @property
    def losses(self) -> Mapping[str, float]:
        """Each loss with its weight."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else {**self.loss}

    @property
    def needs_reference(self) -> bool:
        """Whether any loss looks at the reference."""
        return not FREE.issuperset(self.losses)

    @property
    def whole_steps(self) -> bool:
        """Whether a step's pairs must not be split over micro-batches and ranks."""
        return not WHOLE.isdisjoint(self.losses)

    @field_validator("loss", mode="before")
    @classmethod
    def _known(cls, loss: Any) -> Any:
        if not isinstance(loss, str | dict) or not loss:
            raise ValueError(
                "loss names no loss; write one, such as sigmoid, or {sigmoid: 1, sft: 0.1}"
            )
        known = (*get_args(PairLoss), *get_args(LabelLoss))
        for name, weight in ({loss: 1} if isinstance(loss, str) else loss).items():
            if name not in known:
                raise ValueError(f"unknown loss '{name}'; {did_you_mean(str(name), known)}")
            if isinstance(loss, dict) and name in get_args(LabelLoss):
                raise ValueError(f"{name} is of labelled answers; it stands alone: loss: {name}")
            if not isinstance(weight, int | float) or not weight > 0:
                raise ValueError(f"the weight of {name} is {weight}; give a number above 0")
        return loss

    @model_validator(mode="after")
    def _effective(self) -> Self:
        told = (
            ("label_smoothing", self.label_smoothing > 0, SMOOTHED),
            ("margin_cap", self.margin_cap is not None, CAPPED),
            ("f_divergence_type", self.f_divergence_type != "reverse_kl", DIVERGING),
            ("weighting", self.weighting != "none", frozenset(get_args(PairLoss))),
            ("ld_alpha", self.ld_alpha is not None, LENGTHENED),
        )
        for key, given, reached in told:
            if given and reached.isdisjoint(self.losses):
                raise ValueError(
                    f"{key} has no effect on {', '.join(self.losses)}; delete it, or use one of "
                    f"{', '.join(sorted(reached))}"
                )
        lacking = NEEDS_SMOOTHING & set(self.losses)
        if lacking and not self.label_smoothing:
            raise ValueError(f"{min(lacking)} needs label_smoothing above 0, such as 0.1")
        return self


class PreferenceStage(TrainConfig, LossSettings):
    """Preference optimisation against the frozen starting model (DPO and its family)."""

    kind: Literal["preference"] = "preference"
    data: tuple[SourceConfig, ...] = Field(min_length=1)
    """Sources of rows (--data in a command)."""
    heldout: HeldoutConfig = HeldoutConfig()
    from_: str = Field(alias="from")
    """Stage or folder of the model to start from (--model in a command); also the reference."""
    pairs: PairsConfig | None = None
    """How pairs are made where the data has none."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of wanted answers (kto)."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of unwanted answers (kto)."""
    sync_ref_model: bool = False
    """Move the reference towards the policy on the way (TR-DPO, arXiv 2404.09656)."""
    ref_model_sync_steps: int = Field(default=512, gt=0)
    """Steps between two moves of the reference."""
    ref_model_mixup_alpha: float = Field(default=0.6, gt=0, le=1)
    """α of the reference's move: α policy + (1 - α) reference."""
    train_on: Literal["last", "all"] = "last"
    """Which assistant turns of an answer of several turns carry loss."""
    lora: LoRAConfig | None = None
    """Train low-rank adapters instead of the weights."""
    chat_template: ChatTemplate | None = None
    """Template that conversations are rendered with; none: the model folder's own."""
    system_prompt: str | None = None
    """System turn that the chat template adds to a conversation without one; empty: it adds none;
    not set: what the template does."""
    pad_token: str | None = None
    """Pad token to add where the tokenizer has none or uses its end token; none: leave it as it
    is."""

    @property
    def labelled(self) -> bool:
        """Whether the loss is one of single answers."""
        return self.loss in get_args(LabelLoss)

    def inputs(self) -> tuple[str, ...]:
        """Stages or folders that this one starts from."""
        named = (self.from_, *(name for _, name in pair_models(self.pairs) if name))
        return tuple(dict.fromkeys(named))

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.labelled and self.pairs is not None:
            raise ValueError(f"{self.loss} takes no pairs; leave pairs out, or use another loss")
        if not self.labelled and (self.desirable_weight, self.undesirable_weight) != (1.0, 1.0):
            raise ValueError(
                "desirable_weight and undesirable_weight are for loss: kto; delete them"
            )
        if self.sync_ref_model and (self.labelled or not self.needs_reference):
            raise ValueError(f"sync_ref_model is not for {', '.join(self.losses)}; delete it")
        if self.sync_ref_model and self.lora is not None:
            raise ValueError("sync_ref_model moves whole weights; leave out lora or sync_ref_model")
        if self.whole_steps and (self.micro_batch_size or self.micro_batch_tokens):
            raise ValueError(
                "aot sorts all pairs of a step; leave out micro_batch_size and micro_batch_tokens"
            )
        return self
