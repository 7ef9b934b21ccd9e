"""The weights of a model folder: safetensors, whole or in shards, checked before they are used.

Nothing is unpickled, and an index cannot point out of its folder.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.checkpoint.families import Family, Rule
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.text.confined import inside

M = TypeVar("M")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 3
_AGAIN = "Its download is not whole, or not what it should be: fetch or save the folder again."


def write_weights(
    folder: Path,
    rules: list[Rule],
    weights: Mapping[str, Tensor],
    dtype: torch.dtype,
    shard_bytes: int,
) -> None:
    """Write the tensors that `rules` name: one file, or several with an index above a size.

    Args:
        folder: Where to.
        rules: Their tensors, in the order of storage.
        weights: Ours, by name.
        dtype: Of what is stored.
        shard_bytes: No file is larger, unless a single tensor is.
    """
    shapes = {name: weight.shape for name, weight in weights.items()}
    sizes = {rule: rule.shape(shapes).numel() * dtype.itemsize for rule in rules}
    shards = list(_shards(sizes, shard_bytes))
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = WEIGHTS
        if len(shards) > 1:
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        # only one file's tensors are held at a time
        tensors = {rule.theirs: rule.pack(weights).detach().to("cpu", dtype) for rule in shard}
        tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, name)
    if len(shards) > 1:
        total = {"total_size": sum(sizes.values())}
        write_json(folder / INDEX, {"metadata": total, "weight_map": dict(sorted(where.items()))})


def _shards(sizes: Mapping[Rule, int], limit: int) -> Iterator[list[Rule]]:
    """Tensors in order, cut where the next would pass the limit."""
    shard: list[Rule] = []
    held = 0
    for rule, size in sizes.items():
        if shard and held + size > limit:
            yield shard
            shard, held = [], 0
        shard.append(rule)
        held += size
    yield shard


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name.

    Raises:
        AccordError: None, only pickled ones, or an index that names a file not of this folder.
    """
    if (folder / WEIGHTS).is_file():
        return [inside(folder / WEIGHTS)]
    index = folder / INDEX
    if not index.is_file():
        raise _no_weights(folder)
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AccordError("The index names no weights.", str(index), _AGAIN)
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise AccordError(
                f"The index points to '{name}', which is no safetensors file of this folder.",
                str(index),
                "Fetch the model again from a source you trust.",
            )
        if not (folder / name).is_file():
            raise AccordError(f"The folder lacks '{name}'.", str(index), _AGAIN)
    return [inside(folder / name) for name in names]


def _no_weights(folder: Path) -> AccordError:
    pickled = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt")
    )
    if pickled:
        return AccordError(
            f"The weights are pickled ({_some(pickled)}), and unpickling can run any code.",
            str(folder),
            "Save the model as safetensors: model.save_pretrained(folder).",
        )
    return AccordError(f"The folder holds no {WEIGHTS} and no {INDEX}.", str(folder), _AGAIN)


class Stored:
    """A tensor in an open safetensors file, read when asked for."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, read from the file's header."""
        return tuple(self._file.get_slice(self._name).get_shape())

    def get(self) -> Tensor:
        """Its values."""
        return self._file.get_tensor(self._name)


def open_weights(files: list[Path], family: Family, stack: ExitStack) -> dict[str, Stored]:
    """Every stored tensor by its full name; files are open until the stack is closed.

    Raises:
        AccordError: A file is torn.
    """
    stored: dict[str, Stored] = {}
    for path in files:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except SafetensorError as error:
            raise AccordError(
                f"The file is no whole safetensors file: {error}", str(path), _AGAIN
            ) from error
        stored |= {family.full_name(name): Stored(file, name) for name in file.keys()}  # noqa: SIM118
    return stored


def shaped(make: Callable[[], M], config: ModelConfig, tensors: int, where: str) -> M:
    """A model without weights, of a shape that so many stored tensors could be the weights of.

    Raises:
        AccordError: More layers than tensors, or sizes that no tensor has.
    """
    if config.num_hidden_layers > tensors:
        raise AccordError(
            f"config.json says {config.num_hidden_layers} layers; {tensors} tensors are stored.",
            where,
            "Use the config.json that was saved with these weights.",
        )
    try:
        return make()
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        first = str(error).splitlines()[0][:120]
        raise AccordError(
            f"config.json describes no model that can be built: {first}",
            where,
            "Use the config.json that was saved with these weights.",
        ) from None


def check(
    stored: Mapping[str, Stored],
    rules: list[Rule],
    ours: Mapping[str, torch.Size],
    family: Family,
    config: ModelConfig,
    where: str,
) -> None:
    """Compare what is stored with what the model needs.

    Raises:
        AccordError: Tensors are missing, left over or of another shape; each is named.
    """
    expected = {rule.theirs: tuple(rule.shape(ours)) for rule in rules}
    faults = {
        "missing": [name for name in expected if name not in stored],
        "not part of the model": [
            name
            for name in sorted(stored)
            if name not in expected and not family.is_ignored(name, config)
        ],
        "of another shape": [
            f"{name} {list(stored[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in stored and stored[name].shape != shape
        ],
    }
    told = [f"{fault}: {_some(names)}" for fault, names in faults.items() if names]
    if told:
        raise AccordError(
            f"The weights do not fit config.json; {'; '.join(told)}.",
            where,
            "Use the config.json that was saved with these weights.",
        )


@torch.no_grad()
def fill(
    weights: Mapping[str, Tensor],
    rules: list[Rule],
    stored: Mapping[str, Stored],
) -> None:
    """Copy every stored tensor to its place among a model's weights."""
    for rule in rules:
        rule.fill(weights, stored[rule.theirs].get())


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        AccordError: It is no JSON, or no object.
    """
    try:
        value = json.loads(inside(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise AccordError(f"The file is not valid JSON: {error}", str(path), _AGAIN) from error
    if not isinstance(value, dict):
        raise AccordError("The file holds no JSON object.", str(path), _AGAIN)
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
