"""Model folders: exactly the files that Hugging Face's libraries read, written and read back.

Only safetensors and JSON are read: nothing is unpickled and no code of a folder is run.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.checkpoint.families import Family, Rule
from accord.checkpoint.names import (
    SpecialIds,
    config_from_hf,
    config_to_hf,
    family_from_hf,
    family_of,
)
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder

if TYPE_CHECKING:
    from accord.text.tokenizer import Tokenizer

CONFIG, GENERATION, CARD = "config.json", "generation_config.json", "README.md"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_OUR_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_SHOWN = 8


def save_model(
    decoder: Decoder,
    folder: str | Path,
    tokenizer: "Tokenizer | None" = None,
    dtype: torch.dtype | None = None,
    card: str | None = None,
    weights: Mapping[str, Tensor] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a model as a Hugging Face folder; the same model gives the same bytes.

    All files are written and synced aside and moved into place one by one, config.json last: a
    folder with a config.json is whole.

    Args:
        decoder: The model.
        folder: Where to; other files in it are left alone.
        tokenizer: Its files are written too, and its end, pad and bos tokens stand in the configs.
        dtype: Of the stored weights; none: as they are.
        card: Text of README.md.
        weights: By Accord's names, in the decoder's stead (gathered from ranks, float32 masters).
        shard_bytes: Weights above this size are split into several files with an index.

    Raises:
        AccordError: No Hugging Face family expresses the model.
    """
    config = decoder.config
    family = family_of(config)
    special = _special_ids(tokenizer)
    own = decoder.state_dict() if weights is None else weights
    stored = dtype or own["embedding.weight"].dtype
    folder = Path(folder)
    aside = folder / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _write_weights(aside, family.rules(config), own, stored, shard_bytes)
    if tokenizer is not None:
        tokenizer.save(aside, model_max_length=config.max_position_embeddings)
    if card is not None:
        (aside / CARD).write_text(card, encoding="utf-8")
    generation = {key: value for key, value in special.to_json().items() if value is not None}
    _write_json(aside / GENERATION, generation)
    _write_json(aside / CONFIG, config_to_hf(config, special, str(stored).removeprefix("torch.")))
    _move_into_place(aside, folder)


def load_config(folder: str | Path) -> ModelConfig:
    """The shape of a folder's model.

    Raises:
        AccordError: No such folder or config.json, or a model that Accord does not compute.
    """
    path = Path(folder) / CONFIG
    return config_from_hf(_read_config(Path(folder)), str(path))


def load_model(
    folder: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Decoder:
    """The model of a Hugging Face folder, one safetensors file or several with an index.

    Args:
        folder: The folder.
        dtype: Of the model; none: that of the stored embedding.
        device: Where its weights go.

    Raises:
        AccordError: No such model, no safetensors, tensors missing, left over or of another shape.
    """
    folder = Path(folder)
    hf = _read_config(folder)
    config = config_from_hf(hf, str(folder / CONFIG))
    family = family_from_hf(hf)
    with ExitStack() as stack:
        stored = _open_weights(_weight_files(folder), family, stack)
        decoder = Decoder.empty(config, dtype or torch.float32, "meta")
        ours = {name: weight.shape for name, weight in decoder.named_parameters()}
        rules = family.rules(config)
        _check(stored, rules, ours, family, config, str(folder))
        dtype = dtype or stored[rules[0].theirs].get().dtype
        decoder = decoder.to(dtype).to_empty(device=device)
        _fill(decoder, rules, stored, ours)
    return decoder


def model_fingerprint(folder: str | Path) -> str:
    """SHA-256 over a folder's weights and config.json; changes when any byte of them does.

    Raises:
        AccordError: No such model.
    """
    folder = Path(folder)
    _read_config(folder)
    digest = sha256()
    for path in (folder / CONFIG, *_weight_files(folder)):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _special_ids(tokenizer: "Tokenizer | None") -> SpecialIds:
    if tokenizer is None:
        return SpecialIds()
    return SpecialIds(tokenizer.bos_id, tokenizer.end_id, tokenizer.pad_id)


def _write_weights(
    folder: Path,
    rules: list[Rule],
    weights: Mapping[str, Tensor],
    dtype: torch.dtype,
    shard_bytes: int,
) -> None:
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
        _write_json(folder / INDEX, {"metadata": total, "weight_map": dict(sorted(where.items()))})


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


def _move_into_place(aside: Path, folder: Path) -> None:
    names = sorted((path.name for path in aside.iterdir()), key=lambda name: (name == CONFIG, name))
    for name in names:
        _sync(aside / name)
    # without its config.json the folder is no model until all is in place
    (folder / CONFIG).unlink(missing_ok=True)
    _sync(folder)
    for path in folder.iterdir():
        if _OUR_WEIGHTS.fullmatch(path.name) and path.name not in names:
            path.unlink()
    for name in names:
        (aside / name).replace(folder / name)
    aside.rmdir()
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise AccordError(
            "There is no such model folder.", str(folder), "Give a folder that holds a config.json."
        )
    if not path.is_file():
        raise AccordError(
            f"The folder holds no {CONFIG}.",
            str(folder),
            "Give a Hugging Face model folder; one whose writing was cut short has none either.",
        )
    return _read_json(path)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        raise _no_weights(folder)
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise AccordError("The index names no weights.", str(index))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise AccordError(
                f"The index points to '{name}', which is no safetensors file of this folder.",
                str(index),
                "Fetch the model again from a source you trust.",
            )
        if not (folder / name).is_file():
            raise AccordError(f"The folder lacks '{name}'.", str(index), "Fetch it again.")
    return [folder / name for name in names]


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
    return AccordError(f"The folder holds no {WEIGHTS} and no {INDEX}.", str(folder))


class _Stored:
    """A tensor in an open safetensors file, read when asked for."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._file.get_slice(self._name).get_shape())

    def get(self) -> Tensor:
        return self._file.get_tensor(self._name)


def _open_weights(files: list[Path], family: Family, stack: ExitStack) -> dict[str, _Stored]:
    stored: dict[str, _Stored] = {}
    for path in files:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except SafetensorError as error:
            raise AccordError(
                f"The file is no whole safetensors file: {error}", str(path), "Fetch it again."
            ) from error
        stored |= {family.full_name(name): _Stored(file, name) for name in file.keys()}  # noqa: SIM118
    return stored


def _check(
    stored: Mapping[str, _Stored],
    rules: list[Rule],
    ours: Mapping[str, torch.Size],
    family: Family,
    config: ModelConfig,
    where: str,
) -> None:
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
            f"The weights do not fit config.json. {'; '.join(told)}.",
            where,
            "Use the config.json that was saved with these weights.",
        )


@torch.no_grad()
def _fill(
    decoder: Decoder,
    rules: list[Rule],
    stored: Mapping[str, _Stored],
    ours: Mapping[str, torch.Size],
) -> None:
    weights = dict(decoder.named_parameters())
    for rule in rules:
        for name, value in rule.unpack(stored[rule.theirs].get(), ours).items():
            weights[name].copy_(value)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AccordError(f"The file is not valid JSON: {error}", str(path)) from error
    if not isinstance(value, dict):
        raise AccordError("The file holds no JSON object.", str(path))
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
