"""Folders with int8 or int4 weights, as transformers writes and reads them with torchao.

Needs the extra `quantize`. Only weights are rounded: what is computed stays in the folder's dtype.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from accord.checkpoint.folder import read_config
from accord.errors import AccordError

Bits = Literal["int8", "int4"]
GROUP = 32
"""Weights that share a scale at four bits; at eight bits a row has one."""


def quantise(folder: Path, out: Path, to: Bits) -> None:
    """Write a Hugging Face folder's model with rounded weights; embedding and head stay.

    Raises:
        AccordError: The libraries are missing, or a width is no multiple of 32.
    """
    transformers, config = _libraries(folder), read_config(folder)
    width = config.get("hidden_size", config.get("n_embd", 0))
    if to == "int4" and width % GROUP:
        raise AccordError(
            f"int4 shares a scale among {GROUP} weights, and rows are {width} long.",
            str(folder),
            "convert to int8",
        )
    # GPT-2 has no nn.Linear in transformers: its Conv1D would be passed over unsaid
    if config.get("model_type") == "gpt2":
        raise AccordError(
            "transformers' GPT-2 has no linear layers that torchao rounds (they are Conv1D).",
            str(folder),
            "convert to gguf: --to gguf --type q8_0",
        )
    settings = transformers.TorchAoConfig(_settings(to))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings)
    model.save_pretrained(out)


def quantised_logits(folder: Path) -> Any:
    """A quantised folder, loaded by transformers, as a function of one text's ids [T]."""
    model = _libraries(folder).AutoModelForCausalLM.from_pretrained(folder).eval()

    def logits(ids_T: Tensor) -> Tensor:
        with torch.no_grad():
            return model(ids_T[None]).logits[0].float()

    return logits


def _settings(to: Bits) -> Any:
    kinds = import_module("torchao.quantization")
    if to == "int8":
        return kinds.Int8WeightOnlyConfig(version=2)
    # torchao's packed int4 needs mslk, which is for CUDA alone; this form is read anywhere
    dtype = getattr(torch, "int4")  # noqa: B009 - torch's stubs do not name it
    return kinds.IntxWeightOnlyConfig(weight_dtype=dtype, granularity=kinds.PerGroup(GROUP))


def _libraries(folder: Path) -> Any:
    try:
        import_module("torchao")
        return import_module("transformers")
    except ImportError as error:
        raise AccordError(
            "int8 and int4 need transformers and torchao, which are not installed.",
            str(folder),
            "pip install 'accord[hf,quantize]'",
        ) from error
