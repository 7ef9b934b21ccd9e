"""How tokens are drawn."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from accord.config.base import Strict


class SamplingConfig(Strict):
    """Sampling settings in the field's words; they apply in the order they stand here."""

    repetition_penalty: float = Field(default=1.0, gt=0)
    """Divide the positive logits of tokens that were already used by this, and multiply negative
    ones; 1 is off."""
    no_repeat_ngram_size: int = Field(default=0, ge=0)
    """Never repeat a run of this many tokens; 0 is off."""
    temperature: float = Field(default=1.0, ge=0)
    """Logits are divided by it before a token is drawn; 0 is greedy."""
    top_k: int = Field(default=0, ge=0)
    """Draw from this many of the likeliest tokens; 0 is off."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the likeliest tokens whose probabilities add up to this; 1 is off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the likeliest one's probability; 0 is off."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Tokens of a completion at most; a longer one is cut off there."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are cut off."""


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "creative": {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 50,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 8,
    },
    "factual": {"temperature": 0.0},
}
"""Settings by name, for `accord generate --preset`; what is given beside a preset overrides it."""
