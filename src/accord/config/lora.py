"""Low-rank adapters (the extra `lora`)."""

from typing import Literal

from pydantic import Field

from accord.config.base import Strict


class LoRAConfig(Strict):
    """Low-rank adapters (arXiv 2106.09685); names are peft's."""

    r: int = Field(default=16, gt=0)
    """Rank of the adapters."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """The adapters' product is scaled by lora_alpha / r."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(r) instead (arXiv 2312.03732)."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Modules that get an adapter, by their Hugging Face names: [q_proj, v_proj]; all-linear: each
    linear layer inside the blocks."""
