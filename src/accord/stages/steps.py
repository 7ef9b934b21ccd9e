"""What the loop does with a batch: one function a kind of training."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from accord.config.preference import PreferenceStage
from accord.config.rl import OnlineStage
from accord.data.batch import TokenBatch
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_logps
from accord.objectives.loss import Loss
from accord.objectives.pairs import PairSettings
from accord.objectives.preference import (
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
)
from accord.objectives.sft import next_token

Step = Callable[[Any, TokenBatch], Loss]


def language_step(model: Any, batch: TokenBatch) -> Loss:
    """Next-token cross-entropy of whatever the batch scores: pretraining and SFT."""
    hidden_SD = predicting_hidden(model, batch)
    return next_token(hidden_SD, model.head_weight_VD, batch.target_S, batch.weight_S)


def preference_step(config: PreferenceStage | OnlineStage) -> Step:
    """The stage's preference loss on pairs whose reference log-probabilities are in the batch."""
    settings = PairSettings(
        **{field.name: getattr(config, field.name) for field in fields(PairSettings)}
    )

    def step(model: Any, batch: TokenBatch) -> Loss:
        assert batch.reference_R is not None
        hidden_SD = predicting_hidden(model, batch)
        logps_S, stats = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        sums_R, lengths_R = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
        pairs = paired(sums_R, lengths_R, batch.reference_R)
        loss = preference_loss(config.losses, pairs, settings)
        metrics = {**loss.metrics, **pair_token_metrics(stats, batch.sequence_S)}
        return Loss(loss.total, loss.weight, metrics)

    return step
