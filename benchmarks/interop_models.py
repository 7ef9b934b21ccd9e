"""One small random model of every family that a folder can be written as, for other readers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from accord.checkpoint.folder import save_model
from accord.config.model import PRESETS, ModelConfig
from accord.model.decoder import Decoder
from accord.text.tokenizer import Tokenizer

# vLLM's CPU kernels want heads of 32 and more, and experts whose width is a multiple of 32
SHAPE: Mapping[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 1024,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
}
SLIDE = (9,) * 4
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
SCALED = {"factor": 4.0, "original_max_position_embeddings": 256}

FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gpt2": ("gpt2", {**PRESETS["gpt2"], "num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama": ("llama", {}),
    "llama tied, biased": (
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama3 rope": ("llama", {"rope_scaling": {"rope_type": "llama3", **SCALED}}),
    "linear rope": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "yarn rope": ("llama", {"rope_scaling": {"rope_type": "yarn", **SCALED}}),
    "mistral": ("mistral", {"sliding_windows": SLIDE}),
    "qwen2": ("qwen2", {"attention_bias": True, "attention_out_bias": False}),
    "qwen2 sliding": (
        "qwen2",
        {"attention_bias": True, "attention_out_bias": False, "sliding_windows": SLIDE},
    ),
    "qwen3": ("qwen3", {"qk_norm": True, "head_dim": 64}),
    "qwen3 sliding": ("qwen3", {"qk_norm": True, "sliding_windows": SLIDE}),
    "mixtral": ("mixtral", EXPERTS),
    "qwen3-moe": ("qwen3_moe", {**EXPERTS, "qk_norm": True, "moe_intermediate_size": 64}),
    "alternating experts": (
        "granitemoe_swa",
        {**EXPERTS, "sliding_windows": (9, None, 9, None)},
    ),
}
"""By name: the `model_type` that the folder has, and the model's shape."""


def write(name: str, folder: Path) -> Decoder:
    """Write the folder of one of `FAMILIES`."""
    return write_shape(FAMILIES[name][1], folder)


def write_shape(changes: Mapping[str, Any], folder: Path) -> Decoder:
    """Write a model's folder with a chat tokenizer; no bias is 0, no norm 1, the logits uneven.

    Args:
        changes: What it has otherwise than `SHAPE`.
        folder: Where to.
    """
    tokenizer = Tokenizer.train(
        ["the cat sat on the mat, hello world"] * 3, 300, chat_template="chatml"
    )
    tokenizer = tokenizer.with_chat_template("chatml")
    shape = {**SHAPE, **changes, "vocab_size": 320}
    decoder = Decoder.init(ModelConfig.model_validate(shape), seed=1)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in decoder.parameters():
            if weight.dim() == 1:
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
        # tied to the embedding, tokens would otherwise predict themselves
        decoder.norm.get_parameter("weight").mul_(torch.randn(128, generator=generator))
    save_model(decoder, folder, tokenizer)
    return decoder
