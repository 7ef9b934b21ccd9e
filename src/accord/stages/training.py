"""The loop, set up for a stage."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import nn

from accord.config.train import TrainConfig
from accord.data.order import Order
from accord.data.packing import Example
from accord.evaluation.live import Watch
from accord.model.decoder import Decoder
from accord.objectives.loss import Loss
from accord.stages.context import StageContext
from accord.stages.sources import BlockSource, ExampleSource, HeldoutExamples
from accord.stages.steps import Step
from accord.train import Trainer
from accord.train.microbatch import Source
from accord.train.result import Unit
from accord.train.shows import Watcher


def watch_of(config: TrainConfig, context: StageContext) -> Watcher:
    """Says what goes wrong while the stage trains, each finding once."""
    settings = config.model_dump(mode="json", by_alias=True)
    return Watch(settings["kind"], settings, context.name).see


class Ordered(Source, Protocol):
    """A source whose rows come in shuffled epochs."""

    @property
    def order(self) -> Order:
        """The order of its rows."""
        ...


def train(
    model: Decoder,
    step: Step,
    source: ExampleSource | BlockSource,
    watched: Sequence[Example],
    config: TrainConfig,
    context: StageContext,
    fingerprint: str,
    unit: Unit = "tokens",
) -> Trainer:
    """Train to the end, or on from the newest checkpoint, and hand back the finished trainer.

    Args:
        model: In float32; the trainer's from here on.
        step: Model and batch to the objective's sum.
        source: The rows of each optimiser step.
        watched: Held-out examples for the evaluations on the way; may be empty.
        config: The loop's settings.
        context: The stage's folder and console.
        fingerprint: Of whatever the run depends on beside its settings.
        unit: What the rows are.
    """
    held = HeldoutExamples(watched, config.batch_size) if watched else None
    return fit(model, step, source, held, config, context, fingerprint, unit)


def fit(
    model: nn.Module,
    step: Callable[[Any, Any], Loss],
    source: Ordered,
    held: Source | None,
    config: TrainConfig,
    context: StageContext,
    fingerprint: str,
    unit: Unit,
) -> Trainer:
    """As `train`, for any model and batch; `held` gives the batches of the evaluations."""
    trainer = Trainer(
        model,
        step,
        source,
        config,
        context.folder,
        evaluate=held,
        console=context.console,
        unit=unit,
        steps_per_epoch=source.order.rows / source.order.batch_size,
        fingerprint=fingerprint,
        watch=watch_of(config, context),
    )
    trainer.fit()
    return trainer
