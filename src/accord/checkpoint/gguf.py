"""Models of llama.cpp's GGUF files, dequantised.

Needs the extra `gguf`. Read are the architectures of `checkpoint.gguf_shape`; whatever else a file
says that would change the logits is refused. Nothing in a file is run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from accord.checkpoint.gguf_rope import FACTORS, SCALING_KEYS, scaled_by
from accord.checkpoint.gguf_shape import ARCHITECTURES, shape_from_gguf, tensor_rules
from accord.checkpoint.gguf_tokenizer import read_tokenizer
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.text import Tokenizer

_READ = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    # llama.cpp shows it and computes nothing with it
    "rope.scaling.finetuned",
    "vocab_size",
    *SCALING_KEYS,
}
_SHOWN = 6


@dataclass(frozen=True)
class GGUFModel:
    """A GGUF file as Accord's objects.

    Args:
        config: The shape.
        weights: By Accord's names, as numbers again.
        tokenizer: Its tokenizer, the file's chat template included.
        stored: How many tensors of each storage type the file holds.
        metadata: Everything else that the file says.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    tokenizer: Tokenizer
    stored: Mapping[str, int]
    metadata: Mapping[str, Any]


def read_gguf(path: Path, dtype: torch.dtype = torch.float32, where: str = "") -> GGUFModel:
    """The model of a GGUF file, dequantised.

    Raises:
        AccordError: No whole GGUF file, an architecture that is not read, one file of several, a
            setting or tensor that Accord does not compute, a storage type that the library cannot
            dequantise, or a tokenizer that is not read from GGUF.
    """
    where = where or str(path)
    metadata, stored = _opened(path, where)
    config = _config(metadata, {name: _shape(tensor) for name, tensor in stored.items()}, where)
    if FACTORS in stored:
        config = _slowed(config, _dequantised(stored.pop(FACTORS), where), where)
    tokenizer = read_tokenizer(metadata, where)
    if len(tokenizer) > config.vocab_size:
        raise AccordError(
            f"The tokenizer has {len(tokenizer)} tokens, the embedding {config.vocab_size} rows.",
            where,
        )
    weights = _weights(metadata["general.architecture"], stored, config, dtype, where)
    kinds = Counter(tensor.tensor_type.name for tensor in stored.values())
    return GGUFModel(config, weights, tokenizer, kinds, metadata)


def _opened(path: Path, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says by key, and the library's tensors by name, still as they are stored."""
    try:
        from gguf import GGUFReader  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise AccordError(
            "Reading GGUF needs the library gguf, which is not installed.",
            where,
            "pip install 'accord[gguf]'",
        ) from error
    if not path.is_file():
        raise AccordError("There is no such file.", where)
    try:
        reader = GGUFReader(path)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
        return metadata, {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise AccordError(
            f"The file is no whole GGUF file: {error}.", where, "Fetch it again."
        ) from error


def _config(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> ModelConfig:
    """The model's shape, from what the file says and its tensors' shapes."""
    name = str(metadata.get("general.architecture"))
    if name not in ARCHITECTURES:
        raise AccordError(
            f"The architecture is {name!r}; only {', '.join(map(repr, ARCHITECTURES))} are read "
            "from GGUF, since others order or scale their weights in ways of their own.",
            where,
            "Fetch the model's Hugging Face folder, if it is of a family that Accord reads.",
        )
    said = {k.removeprefix(f"{name}."): v for k, v in metadata.items() if k.startswith(f"{name}.")}
    _refuse_unread(name, said, metadata.get("split.count", 1), where)
    try:
        rows, tied = shapes["token_embd.weight"][0], "output.weight" not in shapes
        config = ModelConfig(**shape_from_gguf(name, said, rows, tied, _decimal))
    except KeyError as error:
        raise AccordError(f"The file does not say {error}.", where, "Fetch it again.") from error
    except (ValidationError, TypeError, ZeroDivisionError) as error:
        raise AccordError(
            f"The file describes no model that Accord reads: {error}", where
        ) from None
    head = config.head_size
    for key in ("rope.dimension_count", "attention.value_length"):
        if said.get(key, head) != head:
            raise AccordError(
                f"{name}.{key} is {said[key]} where a head is {head} wide: not supported.", where
            )
    return config


def _slowed(config: ModelConfig, factors_F: Tensor, where: str) -> ModelConfig:
    """The config of a file that has a tensor of rotations' factors."""
    fits = config.rope_scaling is None and len(factors_F) == config.head_size // 2
    scaling = scaled_by(factors_F, config) if fits else None
    if scaling is None:
        raise AccordError(
            f"{FACTORS} scales rotations otherwise than Llama 3 does: not supported.",
            where,
            "Fetch the model's Hugging Face folder, if it is of a family that Accord reads.",
        )
    return config.model_copy(update={"rope_scaling": scaling})


def _refuse_unread(name: str, said: Mapping[str, Any], files: int, where: str) -> None:
    """Refuse what would change the logits unread."""
    if files > 1:
        raise AccordError(
            f"The model is spread over {files} files.", where, "Join them: llama-gguf-split --merge"
        )
    unread = {key: value for key, value in said.items() if key not in _READ}
    if unread:
        told = ", ".join(f"{name}.{key} = {value!r}" for key, value in unread.items())
        raise AccordError(
            f"The model has settings that Accord does not compute: {told}.",
            where,
            "Use a model with plain rotary positions and without windows.",
        )


def _decimal(value: float) -> float:
    """A float32 as the number it was written down as: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _weights(
    architecture: str,
    stored: Mapping[str, Any],
    config: ModelConfig,
    dtype: torch.dtype,
    where: str,
) -> dict[str, Tensor]:
    """Our weights by name, once all of them are there in the right shape."""
    empty = Decoder.empty(config, dtype, "meta")
    shapes = {name: weight.shape for name, weight in empty.named_parameters()}
    rules = {rule.theirs: rule for rule in tensor_rules(architecture, config)}
    wrong = {
        name: tuple(rule.shape(shapes))
        for name, rule in rules.items()
        if name in stored and _shape(stored[name]) != tuple(rule.shape(shapes))
    }
    faults = {
        "missing": sorted(rules.keys() - stored.keys()),
        f"not part of a {architecture}": sorted(stored.keys() - rules.keys()),
        "of another shape": [
            f"{name} {_shape(stored[name])} instead of {shape}" for name, shape in wrong.items()
        ],
    }
    told = [f"{fault}: {_some(names)}" for fault, names in faults.items() if names]
    if told:
        raise AccordError(f"The tensors do not fit the metadata. {'; '.join(told)}.", where)
    weights = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    for name, rule in rules.items():
        rule.fill(weights, _dequantised(stored[name], where))
    return weights


def _shape(tensor: Any) -> tuple[int, ...]:
    """A stored tensor's shape as torch has it; GGUF names the innermost axis first."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _dequantised(tensor: Any, where: str) -> Tensor:
    """A stored tensor's numbers, as float32 of its own memory."""
    from gguf.quants import dequantize  # noqa: PLC0415  (an extra)

    try:
        return torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), np.float32))
    except NotImplementedError as error:
        raise AccordError(
            f"{tensor.name} is stored as {tensor.tensor_type.name}, which the gguf library cannot "
            "dequantise.",
            where,
            "Use a file with another quantisation (Q8_0, Q4_K, F16, …).",
        ) from error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
