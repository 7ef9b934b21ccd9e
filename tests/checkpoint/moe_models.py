"""A tiny random transformers model of every mixture of experts."""

from collections.abc import Mapping
from typing import Any

import torch
from family_models import PLAIN, TINY

PLACES = ["sliding_attention", "full_attention"] * 2
MIXTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mixtral": (
        "mixtral",
        {"num_local_experts": 4, "head_dim": 12, "rope_parameters": PLAIN},
    ),
    "mixtral tied, slides": (
        "mixtral",
        {
            "num_local_experts": 3,
            "sliding_window": 7,
            "tie_word_embeddings": True,
            "head_dim": 8,
        },
    ),
    "qwen3 moe": (
        "qwen3_moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "head_dim": 16,
            "norm_topk_prob": True,
            "rope_parameters": PLAIN,
        },
    ),
    "qwen3 moe, not normalised": (
        "qwen3_moe",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
    ),
    "granite, alternating": (
        "granitemoe_swa",
        {
            "num_hidden_layers": 4,
            "num_local_experts": 4,
            "head_dim": 8,
            "layer_types": PLACES,
            "sliding_window": 9,
            "attention_multiplier": 8**-0.5,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
        },
    ),
}
"""By name: the family, and what its config is given beside `TINY`."""


def mixture(name: str, **changes: Any) -> Any:
    """A random transformers model; no norm is 1, and Granite's sinks are silent."""
    import transformers

    kind, own = MIXTURES[name]
    config = transformers.AutoConfig.for_model(kind, **{**TINY, **own, **changes})
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if parameter.endswith("sinks"):
                weight.fill_(-1e4)
            elif weight.dim() == 1:
                weight.add_(0.3 * torch.randn(weight.shape))
            elif weight.abs().max() == 0:  # Qwen's routers begin at zero
                weight.normal_(0, 0.25)
    return model
