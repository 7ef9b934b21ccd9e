"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. `torch.optim.Muon` is the twin it is
tested against; this one also knows matrices that are sharded over ranks or fused of several, works
in the recipe's precision, and takes equal shapes in one batched product.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Matrix:
    """How a parameter is to be orthogonalised.

    Args:
        shape: Of the whole parameter, however it is sharded.
        rows: Rows of each logical matrix, where several are fused into one parameter.
    """

    shape: torch.Size
    rows: tuple[int, ...]


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, decoupled weight decay and steps of lr * sqrt(max(1, R / C)).

    Args:
        parameters: This rank's float32 shares.
        matrices: How each of them is to be orthogonalised, in the same order.
        lr: Learning rate, that of Jordan et al. (about 0.02).
        momentum: Of the running mean of gradients.
        weight_decay: Decoupled, times the learning rate.
        dtype: What the Newton–Schulz iterations compute in.
        ranks: Who shares the matrices.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        matrices: list[Matrix],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype,
        ranks: Ranks,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)
        self._matrices: Mapping[Tensor, Matrix] = dict(zip(parameters, matrices, strict=True))
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

    def _momentum(self, parameter: Tensor, momentum: float) -> tuple[Matrix, Tensor]:
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return self._matrices[parameter], gradient.lerp(mean, momentum)

    def _orthogonal(self, updates: list[tuple[Matrix, Tensor]]) -> list[Tensor]:
        """The steps to take, scaled; matrices of one shape go through one batched product."""
        pieces: list[list[Tensor]] = []
        by_shape: dict[torch.Size, list[tuple[int, int]]] = defaultdict(list)
        for i, (matrix, update) in enumerate(updates):
            whole = self._ranks.full(update, matrix.shape).to(self._dtype)
            pieces.append(list(whole.split(list(matrix.rows))))
            for j, piece in enumerate(pieces[-1]):
                by_shape[piece.shape].append((i, j))
        for (rows, columns), places in by_shape.items():
            scale = math.sqrt(max(1.0, rows / columns))
            done = orthogonalise(torch.stack([pieces[i][j] for i, j in places]))
            for (i, j), piece in zip(places, done.float().mul_(scale), strict=True):
                pieces[i][j] = piece
        return [self._ranks.part(torch.cat(parts)) for parts in pieces]
