"""The linear layers that may get a low-rank adapter, by Hugging Face's names and by Accord's.

They are read off the family's table (`checkpoint.families`). Where theirs is one layer and ours are
several (GPT-2's c_attn is our query, key and value), the adapter is theirs: one A for all, and a B
whose rows are divided among ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch.nn import Linear

from accord.checkpoint.names import family_of
from accord.config.model import ModelConfig
from accord.errors import AccordError, did_you_mean
from accord.model.decoder import Decoder


@dataclass(frozen=True)
class Target:
    """A linear layer of theirs.

    Args:
        theirs: Its module's name.
        ours: Our modules, whose outputs stand below each other in theirs.
        rows: Outputs of each of ours.
        width: Inputs.
        transposed: Whether theirs is stored as [in, out] (GPT-2's Conv1D).
    """

    theirs: str
    ours: tuple[str, ...]
    rows: tuple[int, ...]
    width: int
    transposed: bool

    @property
    def kind(self) -> str:
        """The last part of its name, alike in every block."""
        return self.theirs.rpartition(".")[2]

    def is_named(self, name: str) -> bool:
        """Whether `name` is its name or, as peft reads it, the end of it after a dot."""
        return self.theirs == name or self.theirs.endswith("." + name)


def linear_layers(config: ModelConfig) -> list[Target]:
    """Every linear layer inside a model's blocks, in the order of its family's table.

    Raises:
        AccordError: No family expresses the config.
    """
    skeleton = Decoder.empty(config, device="meta")
    shapes = {name: weight.shape for name, weight in skeleton.named_parameters()}
    # peft adapts no router and no stack of experts: they are no linear layers there either
    inside = {
        name
        for name, part in skeleton.layers.named_modules(prefix="layers")
        if type(part) is Linear
    }
    return [
        Target(
            rule.theirs.removesuffix(".weight"),
            tuple(name.removesuffix(".weight") for name in rule.ours),
            tuple(shapes[name][0] for name in rule.ours),
            shapes[rule.ours[0]][1],
            rule.transposed,
        )
        for rule in family_of(config).rules(config)
        if rule.ours and rule.ours[0].removesuffix(".weight") in inside
    ]


def chosen(layers: list[Target], wanted: str | Iterable[str]) -> list[Target]:
    """The layers that `target_modules` means: all, or those of the names.

    Raises:
        AccordError: A name is none of theirs.
    """
    if isinstance(wanted, str):
        return layers
    names = list(wanted)
    for name in names:
        if not any(layer.is_named(name) for layer in layers):
            raise AccordError(
                f"'{name}' is no linear layer inside the model's blocks; "
                + did_you_mean(name, {layer.kind for layer in layers}),
                "lora.target_modules",
                "embeddings, head and norms take no adapter: train without lora to change them",
            )
    found = [layer for layer in layers if any(layer.is_named(name) for name in names)]
    if not found:
        raise AccordError(
            "target_modules names no layer", "lora.target_modules", "leave it out: all-linear"
        )
    return found
