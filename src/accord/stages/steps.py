"""What the loop does with a batch: one function a kind of training."""

from collections.abc import Callable
from typing import Any

from accord.config.rl import OnlineStage
from accord.config.preference import PreferenceStage
from accord.data.batch import TokenBatch
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_logps
from accord.objectives.loss import Loss
from accord.objectives.preference import (
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
    with_chosen_nll,
)
from accord.objectives.sft import next_token

Step = Callable[[Any, TokenBatch], Loss]


def language_step(model: Any, batch: TokenBatch) -> Loss:
    """Next-token cross-entropy of whatever the batch scores: pretraining and SFT."""
    hidden_SD = predicting_hidden(model, batch)
    return next_token(hidden_SD, model.head_weight_VD, batch.target_S, batch.weight_S)


def preference_step(config: PreferenceStage | OnlineStage) -> Step:
    """The stage's preference loss on pairs whose reference log-probabilities are in the batch."""

    def step(model: Any, batch: TokenBatch) -> Loss:
        assert batch.reference_R is not None
        hidden_SD = predicting_hidden(model, batch)
        logps_S, stats = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        sums_R, lengths_R = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
        pairs = paired(sums_R, lengths_R, batch.reference_R)
        loss = preference_loss(
            next(name for name in config.losses if name != "sft"),
            pairs,
            beta=config.beta,
            label_smoothing=config.label_smoothing,
            margin_cap=config.margin_cap,
        )
        if "sft" in config.losses:
            loss = with_chosen_nll(loss, pairs, config.losses["sft"])
        metrics = {**loss.metrics, **pair_token_metrics(stats, batch.sequence_S)}
        return Loss(loss.total, loss.weight, metrics)

    return step
