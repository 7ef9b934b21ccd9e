"""How tokens are drawn."""

from pydantic import Field

from accord.config.base import Strict


class SamplingConfig(Strict):
    """Sampling settings in the field's words; they apply in the order they stand here."""

    repetition_penalty: float = Field(default=1.0, gt=0)
    no_repeat_ngram_size: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, ge=0)
    """0 is greedy."""
    top_k: int = Field(default=0, ge=0)
    """0 is off."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    max_new_tokens: int = Field(default=64, gt=0)
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are cut off."""
