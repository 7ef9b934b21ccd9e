"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. `torch.optim.Muon` is the twin it is
tested against; this one also knows matrices that are sharded over ranks, works in the recipe's
precision, and takes equal shapes in one batched product.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from accord.train.parallel import Ranks

# The quintic of the post: steepest at 0 of those that keep singular values in about [0.7, 1.2].
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPS = 1e-7


def orthogonalise(matrix_KRC: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values go to about 1.

    Five Newton–Schulz iterations (Jordan et al. 2024) in the dtype of the input.

    Args:
        matrix_KRC: K matrices of R rows and C columns.
    """
    a, b, c = COEFFICIENTS
    wide = matrix_KRC.shape[-2] <= matrix_KRC.shape[-1]
    x = matrix_KRC if wide else matrix_KRC.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, decoupled weight decay and steps of lr * sqrt(max(1, R / C)).

    Args:
        parameters: This rank's float32 shares.
        shapes: Of the whole matrices, in the same order.
        lr: Learning rate, that of Jordan et al. (about 0.02).
        momentum: Of the running mean of gradients.
        weight_decay: Decoupled, times the learning rate.
        dtype: What the Newton–Schulz iterations compute in.
        ranks: Who shares the matrices.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        shapes: list[torch.Size],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype,
        ranks: Ranks,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)
        self._shapes: Mapping[Tensor, torch.Size] = dict(zip(parameters, shapes, strict=True))
        self._dtype, self._ranks = dtype, ranks

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step with the gradients that the parameters hold."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            updates = [self._momentum(p, group["momentum"]) for p in parameters]
            for parameter, update in zip(parameters, self._orthogonal(updates), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """The whole matrix's Nesterov momentum, in the dtype of the iterations."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        share = gradient.lerp(mean, momentum)
        return self._ranks.full(share, self._shapes[parameter]).to(self._dtype)

    def _orthogonal(self, updates: list[Tensor]) -> list[Tensor]:
        """This rank's shares of the steps; matrices of one shape go through one batched product."""
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for i, update in enumerate(updates):
            by_shape[update.shape].append(i)
        steps = list(updates)
        for (rows, columns), places in by_shape.items():
            done_KRC = orthogonalise(torch.stack([updates[i] for i in places])).float()
            done_KRC.mul_(math.sqrt(max(1.0, rows / columns)))
            for i, step in zip(places, done_KRC, strict=True):
                steps[i] = self._ranks.part(step)
        return steps
