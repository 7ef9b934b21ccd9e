"""Weights that compute and float32 masters that are trained.

In fp32 they are the same memory. In bf16 the model computes with bfloat16 copies: gradients are
handed over to the masters in float32 after every backward pass, the optimiser steps the masters,
and one copy brings them back. So updates below bfloat16's resolution are not lost. Under ranks
FSDP2 keeps that division itself: its shards are the masters, and it gathers in bfloat16. A weight
that is not trained (the base of an adapter) has no master: it is held once, in what computes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from accord.train.parallel import Ranks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Weights:
    """The weights of a model that are trained, by parameter name.

    Args:
        model: In float32, already sharded if there are ranks; its parameters take `dtype`.
        dtype: What the forward and backward pass compute in.
        ranks: Who shares the work.

    `masters` holds this rank's float32 share of each; `shapes` the shape of the whole.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, ranks: Ranks) -> None:
        self._ranks = ranks
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.shapes = {name: p.shape for name, p in self._parameters.items()}
        self.masters = {n: ranks.local(p.detach()) for n, p in self._parameters.items()}
        self._copied = ranks.world == 1 and dtype is not torch.float32
        if self._copied:
            for parameter in model.parameters():
                parameter.data = parameter.data.to(dtype)

    def hand_over(self) -> None:
        """Add the model's gradients to the masters' (float32) and clear them."""
        held: list[Tensor] = []
        new: list[Tensor] = []
        for name, master in self.masters.items():
            parameter = self._parameters[name]
            if parameter.grad is None:
                continue
            gradient = self._ranks.local(parameter.grad)
            parameter.grad = None
            if master.grad is None:
                master.grad = gradient.to(master.dtype)
            else:
                held.append(master.grad)
                new.append(gradient)
        if held:
            torch._foreach_add_(held, new)  # pyright: ignore[reportPrivateImportUsage]

    def gradients(self) -> list[Tensor]:
        """This rank's share of the gradients there are."""
        return [m.grad for m in self.masters.values() if m.grad is not None]

    def norm_squared(self) -> Tensor:
        """Float64 scalar: squared norm of this rank's share of the gradients."""
        gradients = self.gradients()
        if not gradients:
            return torch.zeros((), dtype=torch.float64, device=self._ranks.device)
        norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        return torch.stack(norms).double().square().sum()

    def scale(self, factor: float) -> None:
        """Multiply the gradients."""
        gradients = self.gradients()
        if gradients and factor != 1.0:
            torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateImportUsage]

    def clear(self) -> None:
        """Forget the gradients."""
        for master in self.masters.values():
            master.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Bring the masters to the weights that compute."""
        if self._copied:
            computing = [self._parameters[name].data for name in self.masters]
            torch._foreach_copy_(computing, list(self.masters.values()))  # pyright: ignore[reportPrivateImportUsage]

    def full(self) -> dict[str, Tensor]:
        """Every trained parameter whole, in float32 (all ranks must call it)."""
        return {n: self._ranks.full(t, self.shapes[n]) for n, t in self.masters.items()}

    @torch.no_grad()
    def load(self, full: Mapping[str, Tensor]) -> None:
        """Take whole float32 parameters over."""
        for name, mine in self.masters.items():
            mine.copy_(self._ranks.part(full[name]))
        self.publish()

    def release(self) -> None:
        """Give the model its float32 masters as weights: training is over.

        What was not trained stays as it computed.
        """
        if self._copied:
            for name, parameter in self._parameters.items():
                parameter.data = self.masters[name]
            self._copied = False
