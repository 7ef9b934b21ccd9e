"""How one tensor of Hugging Face's is made of ours, and lists of such rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.config.model import ModelConfig


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs: some of ours below each other, stored transposed or not."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    def shape(self, shapes: Mapping[str, torch.Size]) -> torch.Size:
        """Shape of their tensor, given the shapes of ours."""
        first = shapes[self.ours[0]]
        whole = (sum(shapes[name][0] for name in self.ours), *first[1:])
        return torch.Size(whole[::-1] if self.transposed else whole)

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Their tensor, made of ours."""
        parts = [weights[name] for name in self.ours]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.T if self.transposed else whole

    def unpack(self, theirs: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Our tensors, cut from theirs."""
        whole = theirs.T if self.transposed else theirs
        parts = whole.split([shapes[name][0] for name in self.ours])
        return dict(zip(self.ours, parts, strict=True))

    def fill(self, weights: Mapping[str, Tensor], theirs: Tensor) -> None:
        """Copy their tensor to its place in ours."""
        shapes = {name: weights[name].shape for name in self.ours}
        for name, value in self.unpack(theirs, shapes).items():
            weights[name].copy_(value)


def layered(config: ModelConfig, rules: Iterable[Rule]) -> list[Rule]:
    """The rules of every block, `{i}` its number."""
    return [
        Rule(
            rule.theirs.format(i=i), tuple(ours.format(i=i) for ours in rule.ours), rule.transposed
        )
        for i in range(config.num_hidden_layers)
        for rule in rules
    ]


def linear(theirs: str, ours: Sequence[str], bias: bool, transposed: bool = False) -> list[Rule]:
    """A linear layer or norm of theirs, made of some of ours."""
    weights = [Rule(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), transposed)]
    biases = [Rule(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours))]
    return weights + biases if bias else weights


def head(config: ModelConfig) -> list[Rule]:
    """The language-model head; none where the embedding is it."""
    return [] if config.tie_word_embeddings else [Rule("lm_head.weight", ("head.weight",))]
