"""Learning-rate schedules as pure functions: which share of the peak a step is taken with."""

import math

from accord.config.train import TrainConfig


def warmup_steps(config: TrainConfig, steps: int) -> int:
    """Warm-up steps of a run of `steps`, from `warmup_steps` or `warmup_ratio`; none is 0."""
    if config.warmup_ratio is not None:
        return min(steps, math.ceil(config.warmup_ratio * steps))
    return min(steps, config.warmup_steps or 0)


def factor(config: TrainConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate for optimiser step `step` (from 0) of `steps`.

    Warm-up rises as (step + 1) / (warm-up + 1), so that the first step is never void; decays reach
    `min_lr_ratio` at `step == steps`, one past the last, so that neither is the last.
    """
    warmup = warmup_steps(config, steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    floor = config.min_lr_ratio
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "wsd":
        decay = min(max(1, round(config.decay_ratio * steps)), max(1, steps - warmup))
        return floor + (1 - floor) * min(1.0, (steps - step) / decay)
    progress = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "linear":
        return floor + (1 - floor) * (1 - progress)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
