"""The decoder's blocks: where they are, and how their forward pass is wrapped for a run."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from accord.config.train import TrainConfig


def find_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of every `layers` (a ModuleList) in the model, by name; empty without one."""
    return {
        f"{name}.{i}": block
        for name, module in model.named_modules()
        if name.rpartition(".")[2] == "layers" and isinstance(module, nn.ModuleList)
        for i, block in enumerate(module)
    }


def block_matrices(model: nn.Module) -> list[str]:
    """Names of the matrices inside the blocks."""
    return [
        name
        for prefix, block in find_blocks(model).items()
        for name, parameter in block.named_parameters(prefix=prefix)
        if parameter.dim() == 2
    ]


@contextmanager
def wrapped(
    blocks: Collection[nn.Module], config: TrainConfig, warn: Callable[[str], None]
) -> Iterator[None]:
    """Compile and checkpoint the blocks' forward passes as the config says, and undo it after."""
    compiles = config.compile and _can_compile(warn)
    for block in blocks:
        forward: Callable[..., Any] = block.forward
        if config.gradient_checkpointing:
            # Nothing in a block is random: there is no generator state worth keeping.
            forward = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
        if compiles:
            # Around the checkpoint: within it, a change of shape could have the backward pass
            # recompute with another graph than the forward pass ran.
            forward = torch.compile(forward)
        if compiles or config.gradient_checkpointing:
            block.forward = forward
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _can_compile(warn: Callable[[str], None]) -> bool:
    """Whether torch.compile has what it needs here: on a CPU, a C++ compiler."""
    if torch.cuda.is_available():
        return True
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415  (slow to import)
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError):
        warn("compile: no C++ compiler found (g++ or clang++); going on without torch.compile")
        return False
    return True
