"""What the loop does with a batch: one function a kind of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from accord.config.preference import LossSettings, PreferenceStage
from accord.data.batch import TokenBatch
from accord.model.plan import predicting_hidden
from accord.objectives.labels import LabelLogps, LabelSettings, label_loss
from accord.objectives.logprobs import token_logps
from accord.objectives.loss import Loss
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.preference import (
    ld_weights,
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
)
from accord.objectives.sft import next_token
from accord.objectives.weighting import aligned_weights, token_log_squares, wpo_weights
from accord.stages.labels import Baseline

Step = Callable[[Any, TokenBatch], Loss]


def language_step(model: Any, batch: TokenBatch) -> Loss:
    """Next-token cross-entropy of whatever the batch scores: pretraining and SFT."""
    hidden_SD = predicting_hidden(model, batch)
    return next_token(hidden_SD, model.head_weight_VD, batch.target_S, batch.weight_S)


def preference_step(config: LossSettings, groups: Sequence[str] = ()) -> Step:
    """The stage's preference losses on pairs; metrics also by each of `groups`.

    Reference log-probabilities are in the batch, unless no loss looks at them.
    """
    settings = PairSettings(**{f.name: getattr(config, f.name) for f in fields(PairSettings)})

    def step(model: Any, batch: TokenBatch) -> Loss:
        hidden_SD = predicting_hidden(model, batch)
        logps_S, stats = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        if config.needs_reference and batch.reference_R is None:
            # zeros would train, and towards another objective
            raise ValueError("a row of the batch has no reference log-probability")
        pairs = _pairs(logps_S, batch, config.ld_alpha)
        weight_P = _weights(config, model, batch, hidden_SD, logps_S)
        loss = preference_loss(config.losses, pairs, settings, weight_P, _masks(batch, groups))
        metrics = {**loss.metrics, **pair_token_metrics(stats, batch.sequence_S)}
        return replace(loss, metrics=metrics)

    return step


def label_step(config: PreferenceStage, groups: Sequence[str], baseline: Baseline) -> Step:
    """The loss of single answers; a batch without labels only measures the KL on its answers."""
    settings = LabelSettings(config.beta, config.desirable_weight, config.undesirable_weight)

    def step(model: Any, batch: TokenBatch) -> Loss:
        assert batch.reference_R is not None
        hidden_SD = predicting_hidden(model, batch)
        logps_S, stats = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        sums_R, lengths_R = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
        if batch.label_R is None:
            count = lengths_R.new_tensor(float(batch.sequences))
            kl = (sums_R - batch.reference_R).sum()
            return Loss(kl, count, {"kl": (kl, count)})
        labels = LabelLogps(sums_R, batch.reference_R, batch.label_R, lengths_R)
        name = next(iter(config.losses))
        loss = label_loss(name, labels, settings, baseline.kl, _masks(batch, groups))
        tokens = lengths_R.sum()
        metrics = {**loss.metrics, "entropy": (stats.entropy_S.sum(), tokens)}
        return replace(loss, metrics=metrics)

    return step


def _pairs(logps_S: Tensor, batch: TokenBatch, ld_alpha: float | None) -> PairLogps:
    sums_R, lengths_R = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
    reference_R = batch.reference_R
    if reference_R is None:
        reference_R = torch.zeros_like(lengths_R)
    if ld_alpha is None:
        return paired(sums_R, lengths_R, reference_R)
    weight_S = ld_weights(batch.sequence_S, lengths_R, ld_alpha)
    weighted_R, _ = sequence_logps(logps_S, batch.sequence_S, batch.sequences, weight_S)
    return paired(weighted_R, lengths_R, reference_R, full_R=sums_R)


def _weights(
    config: LossSettings, model: Any, batch: TokenBatch, hidden_SD: Tensor, logps_S: Tensor
) -> Tensor | None:
    if config.weighting == "none":
        return None
    logps_S = logps_S.detach()
    if config.weighting == "wpo_aligned":
        logps_S = logps_S - token_log_squares(hidden_SD, model.head_weight_VD)
    sums_R, lengths_R = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
    weigh = aligned_weights if config.weighting == "wpo_aligned" else wpo_weights
    return weigh(sums_R / lengths_R.clamp(min=1))


def _masks(batch: TokenBatch, names: Sequence[str]) -> Mapping[str, Tensor]:
    device = batch.target_S.device
    return {
        name: torch.tensor([name in own for own in batch.groups], device=device) for name in names
    }
