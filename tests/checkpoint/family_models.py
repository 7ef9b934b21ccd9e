"""A tiny random transformers model of every dense family, and what is said of each."""

from collections.abc import Mapping
from typing import Any

import torch

TINY: Mapping[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 96,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 4.0,
    "original_max_position_embeddings": 24,
}
LINEAR = {"rope_type": "linear", "rope_theta": 300.0, "factor": 4.0}
PLAIN = {"rope_type": "default", "rope_theta": 300.0}
MIXED = ["full_attention", "sliding_attention", "full_attention"]

CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False}),
    "llama 2": ("llama", {"num_key_value_heads": 4, "rope_parameters": PLAIN}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "llama 3.2 tied": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama linear": ("llama", {"rope_parameters": LINEAR}),
    "llama yarn": ("llama", {"rope_parameters": YARN}),
    "llama biased": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "smollm2": ("llama", {"num_attention_heads": 8, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": 7, "rope_parameters": PLAIN}),
    "mistral wide heads": ("mistral", {"sliding_window": 7, "head_dim": 12}),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "mistral yarn": ("mistral", {"sliding_window": 33, "rope_parameters": YARN}),
    "qwen2": ("qwen2", {"rope_parameters": PLAIN}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2 some layers slide": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen2 layer types": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 7, "layer_types": MIXED},
    ),
    "qwen2 yarn": ("qwen2", {"rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "qwen3": ("qwen3", {"head_dim": 16, "rope_parameters": PLAIN}),
    "qwen3 tied": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True}),
    "qwen3 biased": ("qwen3", {"head_dim": 8, "attention_bias": True}),
    "qwen3 slides": (
        "qwen3",
        {
            "head_dim": 8,
            "use_sliding_window": True,
            "sliding_window": 7,
            "max_window_layers": 0,
        },
    ),
}
"""By name: the family, and what its config is given beside `TINY`."""

WRITTEN_AS = {
    "mistral without window": "llama",
}
"""Those whose folder is written by another family than it was read from."""


def theirs(name: str, **changes: Any) -> Any:
    """A random transformers model; no bias is 0 and no norm 1."""
    import transformers

    kind, own = CASES[name]
    keys = {**TINY, **own, **changes}
    if kind == "gpt2":
        names = {
            "hidden_size": "n_embd",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "max_position_embeddings": "n_positions",
            "intermediate_size": "n_inner",
        }
        tied = {"tie_word_embeddings": own.get("tie_word_embeddings", True)}
        keys = {names.get(key, key): value for key, value in {**keys, **tied}.items()}
        del keys["num_key_value_heads"]
    config = transformers.AutoConfig.for_model(kind, **keys)
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn(weight.shape))
    return model
