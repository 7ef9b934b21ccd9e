"""How tokens are drawn."""

from pydantic import Field

from accord.config.base import Strict


class SamplingConfig(Strict):
    """Sampling settings in the field's words; they apply in the order they stand here."""

    repetition_penalty: float = Field(1.0, gt=0)
    no_repeat_ngram_size: int = Field(0, ge=0)
    temperature: float = Field(1.0, ge=0)
    """0 is greedy."""
    top_k: int = Field(0, ge=0)
    """0 is off."""
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    max_new_tokens: int = Field(64, gt=0)
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are cut off."""
