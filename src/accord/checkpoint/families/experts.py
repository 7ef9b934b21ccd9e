"""Experts in a folder: one tensor for all of them here, one for each there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.checkpoint.families.family import Need, same
from accord.checkpoint.families.rule import Rule
from accord.config.model import ModelConfig
from accord.errors import AccordError

ROUTED = Need("num_experts", lambda config: config.num_experts is not None, "it has experts")
NORMALISED = same("norm_topk_prob", True, "the weights of a token's experts add up to 1")


@dataclass(frozen=True)
class ExpertRule(Rule):
    """One expert's matrix of theirs: a share of the rows of that expert in a tensor of ours.

    Args:
        expert: Which.
        part: Which share of its rows.
        parts: How many equal shares there are.
    """

    expert: int = 0
    part: int = 0
    parts: int = 1

    def shape(self, shapes: Mapping[str, torch.Size]) -> torch.Size:
        """Shape of their tensor, given the shapes of ours."""
        _, rows, columns = shapes[self.ours[0]]
        return torch.Size((rows // self.parts, columns))

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor, made of ours."""
        return weights[self.ours[0]][self.expert].chunk(self.parts)[self.part]

    def fill(self, weights: Mapping[str, Tensor], theirs: Tensor) -> None:
        """Copy theirs to its place in ours."""
        self.pack(weights).copy_(theirs)


@dataclass(frozen=True)
class Unused(Rule):
    """A tensor of theirs that has none of ours: written so that it carries nothing.

    Args:
        size: How many values it has.
        value: Of each; what is read must not be above it.
        meaning: What a larger one would do.
    """

    size: int = 0
    value: float = 0.0
    meaning: str = ""

    def shape(self, shapes: Mapping[str, torch.Size]) -> torch.Size:
        """Shape of their tensor."""
        return torch.Size((self.size,))

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor."""
        return torch.full((self.size,), self.value)

    def fill(self, weights: Mapping[str, Tensor], theirs: Tensor) -> None:
        """Make sure that theirs carries nothing.

        Raises:
            AccordError: It does.
        """
        if theirs.float().max() > 0.99 * self.value:
            raise AccordError(
                f"{self.theirs} reaches {theirs.float().max():.4g}: {self.meaning}",
                self.theirs,
                f"Only values of {self.value:g} or below carry nothing and can be read.",
            )


def expert_rules(
    config: ModelConfig, theirs: str, router: str, names: tuple[str, str, str]
) -> list[Rule]:
    """Routers and experts of every layer, where theirs are stored one by one.

    Args:
        config: The shape.
        theirs: The block's feed-forward, `{i}` the layer.
        router: Name of its router.
        names: An expert's gate, up and down matrix.
    """
    found: list[Rule] = []
    for layer in range(config.num_hidden_layers):
        there, ours = theirs.format(i=layer), f"layers.{layer}.mlp."
        found.append(Rule(f"{there}.{router}.weight", (f"{ours}router.weight",)))
        for expert in range(config.num_experts or 0):
            gate, up, down = (f"{there}.experts.{expert}.{name}.weight" for name in names)
            found += [
                ExpertRule(gate, (f"{ours}gate_up.weight",), expert=expert, part=0, parts=2),
                ExpertRule(up, (f"{ours}gate_up.weight",), expert=expert, part=1, parts=2),
                ExpertRule(down, (f"{ours}down.weight",), expert=expert),
            ]
    return found


def routing_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json that all mixtures of experts share."""
    return {
        "num_experts_per_tok": config.num_experts_per_tok,
        "router_aux_loss_coef": config.router_aux_loss_coef,
        # known to no class there, and kept by all of them
        "router_z_loss_coef": config.router_z_loss_coef,
    }


def routing_from_hf(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The way back."""
    return {
        # classes of transformers 5 call it by the second name
        "num_experts": hf["num_experts"] if "num_experts" in hf else hf["num_local_experts"],
        **{key: hf[key] for key in ROUTING_DEFAULTS},
    }


ROUTING_DEFAULTS: Mapping[str, Any] = {
    "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.001,
    "router_z_loss_coef": 0.0,
}
