"""Tiny random models of every family, Accord's and transformers'."""

from typing import Any

import torch

from accord.config.model import PRESETS, ModelConfig

SHAPE: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "initializer_range": 0.3,
}

OURS: dict[str, ModelConfig] = {
    "llama": ModelConfig(**SHAPE, rope_theta=500.0),
    "llama-untied-grouped": ModelConfig(
        **SHAPE,
        num_key_value_heads=2,
        head_dim=6,
        tie_word_embeddings=False,
        attention_bias=True,
        mlp_bias=True,
    ),
    "gpt2": ModelConfig(**{**PRESETS["gpt2"], **SHAPE}),
    "gpt2-untied": ModelConfig(**{**PRESETS["gpt2"], **SHAPE}, tie_word_embeddings=False),
}


def theirs(name: str) -> Any:
    """A random transformers model of the same shape."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    tied = "untied" not in name
    special: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": None}
    if name.startswith("gpt2"):
        config = GPT2Config(
            vocab_size=19,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_positions=48,
            n_inner=24,
            initializer_range=0.3,
            tie_word_embeddings=tied,
            **special,
        )
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=19,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4 if tied else 2,
        intermediate_size=24,
        max_position_embeddings=48,
        rms_norm_eps=1e-6,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        attention_bias=not tied,
        **special,
    )
    return LlamaForCausalLM(config).eval()
