"""What every trained stage may set: optimiser, schedule, precision, batches, checkpoints."""

from typing import Literal, Self

from pydantic import Field, model_validator

from accord.config.base import Strict


class TrainConfig(Strict):
    """The loop's settings; a stage adds its own beside them."""

    steps: int | None = Field(default=None, gt=0)
    """Optimiser steps; give this or epochs."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows; give this or steps."""
    batch_size: int = Field(default=32, gt=0)
    """Sequences (or pairs) an optimiser step, over all ranks."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Sequences (or pairs) a forward pass; none: batch_size divided by the ranks."""
    micro_batch_tokens: int | None = Field(default=None, gt=0)
    """Tokens a forward pass instead: rows of like length go together, as many as fit."""
    max_length: int = Field(default=512, gt=0)
    """Tokens a sequence; longer ones are truncated or dropped, and counted."""
    seed: int | None = None
    """Seed of the order of rows, of samples and of new weights; none: the recipe's."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """What steps the weights; muon: Muon for matrices inside the blocks, AdamW for the rest."""
    lr: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW."""
    muon_lr: float = Field(default=0.02, gt=0)
    """Peak learning rate of Muon."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay rate of Muon's running mean of gradients."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the running mean of gradients and of their squares."""
    eps: float = 1e-8
    """Added to AdamW's denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Share of the weights, times lr, taken off at each step; parameters of two or more dimensions
    only."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Longer gradients are scaled down to this norm; none: never."""
    skip_spikes: float | None = Field(default=None, gt=0)
    """Leave out steps whose loss or gradient norm is more than this many robust deviations above
    the latest 128; none: none."""

    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """Course of the learning rate after the warm-up; wsd: stable, then a linear decay over the last
    decay_ratio of the run."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps in which the learning rate rises to its peak."""
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    """Warm-up as a share of the run."""
    decay_ratio: float = Field(default=0.7, gt=0, le=1)
    """Share of the run over which `wsd` decays."""
    min_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    """Where the schedule ends, as a share of the peak."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """What is computed in; bf16: bf16 compute and gradients, fp32 master weights and optimiser
    state."""
    compile: bool = False
    """torch.compile of the decoder's blocks: pays where the run is long and shapes are fixed."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    router_aux_loss_coef: float | None = Field(default=None, ge=0)
    """Weight of the load-balancing loss of a mixture of experts; none: as the model's."""
    router_z_loss_coef: float | None = Field(default=None, ge=0)
    """Weight of the router's z-loss of a mixture of experts; none: as the model's."""
    resume: bool = True
    """Continue from the stage folder's newest good checkpoint, if there is one."""

    eval_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations on the held-out rows; none: only at the end."""
    eval_rows: int = Field(default=512, gt=0)
    """Held-out rows an evaluation reads at most."""
    save_every: int | None = Field(default=None, gt=0)
    """Steps between checkpoints; none: about ten a run."""
    keep_last: int = Field(default=1, gt=0)
    """Newest checkpoints that are kept."""
    keep_steps: tuple[int, ...] = ()
    """Steps whose checkpoints are made and kept beside those."""
    async_save: bool = False
    """Write checkpoints in the background while training goes on; takes one more copy of weights
    and optimiser state in memory."""
    log_every: int = Field(default=1, gt=0)
    """Steps between two lines of the log."""
    trackers: tuple[Literal["tensorboard"], ...] = ()
    """Where metrics go besides the log (the extra `track`)."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            both = self.steps is not None
            said = "both steps and epochs are given; delete" if both else "no length is given; give"
            raise ValueError(f"{said} one of steps, epochs")
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("warmup_steps and warmup_ratio are given; give one, not both")
        if self.micro_batch_size is not None and self.micro_batch_tokens is not None:
            raise ValueError(
                "micro_batch_size and micro_batch_tokens are given; give one, not both"
            )
        return self
