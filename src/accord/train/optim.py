"""Optimisers: who is stepped by what, and their state as named tensors.

Weight decay falls on parameters of two or more dimensions only. With `muon` the matrices inside the
blocks are Muon's; embeddings, head, norms and biases stay AdamW's.
"""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from accord.config.train import TrainConfig
from accord.train.muon import Muon
from accord.train.parallel import Ranks
from accord.train.precision import DTYPES, Weights


class Optimizer:
    """The optimisers of a run, stepped together.

    Args:
        weights: What is trained.
        config: Learning rates and the rest.
        matrices: Names of the matrices inside the blocks.
        ranks: Who shares the work.
    """

    def __init__(
        self,
        weights: Weights,
        config: TrainConfig,
        matrices: Collection[str],
        ranks: Ranks,
    ) -> None:
        self._weights, self._ranks = weights, ranks
        masters = weights.masters
        mine = [n for n in matrices if n in masters] if config.optimizer == "muon" else []
        self._parts = [self._adamw({n: t for n, t in masters.items() if n not in mine}, config)]
        if mine:
            muon = Muon(
                [masters[name] for name in mine],
                [weights.shapes[name] for name in mine],
                config.muon_lr,
                config.muon_momentum,
                config.weight_decay,
                DTYPES[config.precision],
                ranks,
            )
            self._parts.append(muon)
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self._parts]

    @staticmethod
    def _adamw(masters: Mapping[str, Tensor], config: TrainConfig) -> torch.optim.Optimizer:
        decayed, plain = decay_groups(masters.items())
        return torch.optim.AdamW(
            [
                {"params": [masters[n] for n in decayed], "weight_decay": config.weight_decay},
                {"params": [masters[n] for n in plain], "weight_decay": 0.0},
            ],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Take a step at `factor` of the peak learning rates."""
        for part, peaks in zip(self._parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            part.step()

    def state(self) -> dict[str, Tensor]:
        """The state as whole tensors named `parameter/key` (all ranks must call it)."""
        named: dict[str, Tensor] = {}
        for name, master in self._weights.masters.items():
            for part in self._parts:
                for key, value in part.state.get(master, {}).items():
                    named[f"{name}/{key}"] = self._ranks.full(value, self._weights.shapes[name])
        return named

    def load(self, named: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave, on this or another number of ranks."""
        owner = {
            id(p): part for part in self._parts for g in part.param_groups for p in g["params"]
        }
        for full_name, value in named.items():
            name, _, key = full_name.rpartition("/")
            master = self._weights.masters[name]
            mine = self._ranks.part(value).clone()
            # AdamW keeps its step counters on the CPU unless fused on a GPU, beside the weights.
            owner[id(master)].state[master][key] = mine.to(master.device)


def decay_groups(named: Iterable[tuple[str, Tensor]]) -> tuple[list[str], list[str]]:
    """Names of the parameters that decay (two or more dimensions) and of those that do not."""
    decayed: list[str] = []
    plain: list[str] = []
    for name, tensor in named:
        (decayed if tensor.dim() >= 2 else plain).append(name)
    return decayed, plain
