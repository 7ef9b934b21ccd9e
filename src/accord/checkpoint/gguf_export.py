"""A model as a GGUF file of llama.cpp's: metadata, tokenizer, tensors in one file.

Needs the extra `gguf`. What llama.cpp would compute otherwise is refused.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from accord.checkpoint.gguf_rope import FACTORS, factors
from accord.checkpoint.gguf_shape import architecture_of, shape_to_gguf, tensor_rules
from accord.checkpoint.gguf_vocabulary import vocabulary
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

Storage = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
_FINE = ("token_embd.weight", "output.weight")
_EXACT = ("ffn_gate_inp.weight", "position_embd.weight")
"""Small, and rounding them costs more than it saves: the router chooses experts by few digits."""
_BLOCK = 32  # numbers that share a scale in all of the quantised types here


def write_gguf(
    decoder: Decoder, tokenizer: Tokenizer, path: Path, storage: Storage, name: str
) -> Mapping[str, int]:
    """Write a model as one GGUF file; gives how many tensors have which storage type.

    Matrices get `storage`. Vectors, routers and learned positions stay float32; embedding and head
    are never below q8_0; a matrix whose rows are no multiple of 32 long is stored as f16 where
    `storage` is quantised.

    Args:
        decoder: The model.
        tokenizer: Its tokenizer; chat template and what ends a turn go into the file.
        path: The file.
        storage: How matrices are stored.
        name: Of the model, for readers.

    Raises:
        AccordError: The library is missing, or llama.cpp has no such architecture or tokenizer.
    """
    gguf = _library(path)
    config = decoder.config
    architecture = architecture_of(config)
    said = shape_to_gguf(architecture, config) | vocabulary(tokenizer, config.vocab_size)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(_file_type(gguf, storage))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in said.items():
        _say(writer, key, value)
    stored: Counter[str] = Counter()
    for named, tensor in _tensors(decoder, architecture):
        kind = gguf.GGMLQuantizationType[_storage(named, tensor, storage).upper()]
        values = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
        writer.add_tensor(named, gguf.quants.quantize(values, kind), raw_dtype=kind)
        stored[kind.name] += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def _tensors(decoder: Decoder, architecture: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the file by llama.cpp's name, one at a time."""
    weights, factors_F = decoder.state_dict(), factors(decoder.config)
    if factors_F is not None:
        yield FACTORS, factors_F
    for rule in tensor_rules(architecture, decoder.config):
        yield rule.theirs, rule.pack(weights)


def _library(path: Path) -> Any:
    try:
        import gguf  # noqa: PLC0415  (an extra)
        import gguf.quants  # noqa: PLC0415
    except ImportError as error:
        raise AccordError(
            "Writing GGUF needs the library gguf, which is not installed.",
            str(path),
            "pip install 'accord[gguf]'",
        ) from error
    return gguf


def _file_type(gguf: Any, storage: Storage) -> int:
    names = {"f32": "ALL_F32"}
    return int(gguf.LlamaFileType[names.get(storage, f"MOSTLY_{storage.upper()}")])


def _storage(name: str, tensor: Tensor, storage: Storage) -> str:
    if tensor.dim() < 2 or name.endswith(_EXACT):
        return "f32"
    if storage.startswith("q") and tensor.shape[-1] % _BLOCK:
        return "f16"
    if storage.startswith(("q4", "q5")) and name in _FINE:
        return "q8_0"
    return storage


def _say(writer: "GGUFWriter", key: str, value: Any) -> None:
    """One key in GGUF's types: counts are uint32, all other numbers float32."""
    kinds: Mapping[type, Any] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    kinds[type(value)](key, value)
