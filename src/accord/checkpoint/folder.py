"""Model folders: exactly the files that Hugging Face's libraries read, written and read back.

A peft folder is one too: it is read as its base with the adapter merged.
Only safetensors and JSON are read: nothing is unpickled and no code of a folder is run.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.checkpoint.adapter_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASES_KEYS,
    is_adapter,
    merged,
    read_adapter,
    recorded_base,
    whole_folder,
)
from accord.checkpoint.generation import generation_config, special_ids
from accord.checkpoint.names import config_from_hf, config_to_hf, family_from_hf, family_of
from accord.checkpoint.weights import (
    check,
    fill,
    open_weights,
    read_json,
    shaped,
    weight_files,
    write_json,
    write_weights,
)
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder

if TYPE_CHECKING:
    from accord.text.tokenizer import Tokenizer

CONFIG, GENERATION, CARD = "config.json", "generation_config.json", "README.md"
_MARKS = (CONFIG, ADAPTER_CONFIG)
_OUR_WEIGHTS = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")


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
    own = decoder.state_dict() if weights is None else weights
    stored = dtype or own["embedding.weight"].dtype
    hf = config_to_hf(config, special_ids(tokenizer), dtype_name(stored))
    with written_aside(Path(folder)) as aside:
        write_weights(aside, family_of(config).rules(config), own, stored, shard_bytes)
        write_texts(aside, tokenizer, config.max_position_embeddings, card)
        write_json(aside / GENERATION, generation_config(tokenizer))
        write_json(aside / CONFIG, hf)


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A folder to write a model's files in; they are moved into place where all goes well."""
    aside = folder / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    _move_into_place(aside, folder)


def write_texts(
    folder: Path, tokenizer: "Tokenizer | None", positions: int, card: str | None
) -> None:
    """Write the tokenizer's files and the model card, where there are any."""
    if tokenizer is not None:
        tokenizer.save(folder, model_max_length=positions)
    if card is not None:
        (folder / CARD).write_text(card, encoding="utf-8")


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as config.json names it."""
    return str(dtype).removeprefix("torch.")


def load_config(folder: str | Path) -> ModelConfig:
    """The shape of a folder's model.

    Raises:
        AccordError: No such folder or config.json, or a model that Accord does not compute.
    """
    whole = whole_folder(Path(folder))
    return config_from_hf(read_config(whole), str(whole / CONFIG))


def load_model(
    folder: str | Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Decoder:
    """The model of a Hugging Face folder, one safetensors file or several with an index.

    Of a peft folder it is the base with the adapter merged, in float32 and then cast.

    Args:
        folder: The folder.
        dtype: Of the model; none: that of the stored embedding.
        device: Where its weights go.

    Raises:
        AccordError: No such model, no safetensors, tensors missing, left over or of another shape;
            an adapter that is more than plain LoRA, or whose base has changed.
    """
    folder = Path(folder)
    whole = whole_folder(folder)
    hf = read_config(whole)
    config = config_from_hf(hf, str(whole / CONFIG))
    family = family_from_hf(hf)
    with ExitStack() as stack:
        stored = open_weights(weight_files(whole), family, stack)
        empty = partial(Decoder.empty, config, dtype or torch.float32, "meta")
        decoder = shaped(empty, config, len(stored), str(whole))
        ours = {name: weight.shape for name, weight in decoder.named_parameters()}
        rules = family.rules(config)
        check(stored, rules, ours, family, config, str(whole))
        if is_adapter(folder):
            check_base(folder, whole)
            stored = merged(stored, read_adapter(folder, config), config)
        dtype = dtype or stored[rules[0].theirs].get().dtype
        decoder = decoder.to(dtype).to_empty(device=device)
        fill(dict(decoder.named_parameters()), rules, stored)
    return decoder


def model_fingerprint(folder: str | Path) -> str:
    """SHA-256 over a folder's weights and config.json; changes when any byte of them does.

    Of a peft folder: over its factors, its settings but for where the base lies, and the base.

    Raises:
        AccordError: No such model.
    """
    folder = Path(folder)
    if not is_adapter(folder):
        read_config(folder)
        return _digest((folder / CONFIG, *weight_files(folder))).hexdigest()
    settings = read_json(folder / ADAPTER_CONFIG)
    own = {key: value for key, value in settings.items() if key not in BASES_KEYS}
    digest = _digest((folder / ADAPTER_WEIGHTS,))
    digest.update(json.dumps(own, sort_keys=True).encode())
    digest.update(model_fingerprint(whole_folder(folder)).encode())
    return digest.hexdigest()


def _digest(paths: Iterable[Path]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest


def check_base(folder: Path, base: Path) -> None:
    """Refuse an adapter whose base is no longer the model that it was trained on.

    Raises:
        AccordError: The base's weights have changed.
    """
    trained_on = recorded_base(folder)
    if trained_on is not None and trained_on != model_fingerprint(base):
        raise AccordError(
            f"The base model '{base}' is not the one that this adapter was trained on.",
            str(folder),
            "Bring that model back, or train the adapter again.",
        )


def _move_into_place(aside: Path, folder: Path) -> None:
    names = sorted((path.name for path in aside.iterdir()), key=lambda name: (name in _MARKS, name))
    for name in names:
        _sync(aside / name)
    # without its config.json the folder is no model until all is in place
    for mark in _MARKS:
        (folder / mark).unlink(missing_ok=True)
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


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json.

    Raises:
        AccordError: No such folder, or no JSON object in it by that name.
    """
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
    return read_json(path)
