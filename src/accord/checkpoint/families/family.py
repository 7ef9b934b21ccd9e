"""What a family of Hugging Face's is: its names, its keys, and what it can express."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accord.checkpoint.families.rule import Rule
from accord.config.model import ModelConfig


@dataclass(frozen=True)
class Need:
    """A value that a config must have for a family to express it, and why."""

    key: str
    holds: Callable[[ModelConfig], bool]
    reason: str


@dataclass(frozen=True)
class Family:
    """How Hugging Face writes one family of decoders.

    Args:
        model_type: Its `model_type` in config.json.
        architecture: Its class with a language-model head.
        scorer: Its class with a head for labels.
        base: What names start with in a folder that has the head, and not in one without.
        needs: What a config must be for this family to express it.
        rules: The tensors of a config, all of them.
        ignored: Tensors of old folders that hold no weight.
        to_hf: The family's own keys of config.json.
        from_hf: The way back, given a config.json with its defaults filled in.
        defaults: Values that config.json may leave out.
        supported: Keys whose other values would change the logits, and the values read here.
        refusal: Why a config.json of this family is not read, none where it is.
    """

    model_type: str
    architecture: str
    scorer: str
    base: str
    needs: tuple[Need, ...]
    rules: Callable[[ModelConfig], list[Rule]]
    ignored: re.Pattern[str]
    to_hf: Callable[[ModelConfig], dict[str, Any]]
    from_hf: Callable[[Mapping[str, Any]], dict[str, Any]]
    defaults: Mapping[str, Any]
    supported: Mapping[str, tuple[Any, ...]]
    refusal: Callable[[Mapping[str, Any]], str | None] = lambda hf: None

    def lacks(self, config: ModelConfig) -> list[str]:
        """Why the family cannot express a config; empty if it can."""
        return [f"{need.key}: {need.reason}" for need in self.needs if not need.holds(config)]

    def full_name(self, name: str) -> str:
        """A stored name as it stands in a folder with a head."""
        bare = not name.startswith((self.base, "lm_head.", "score."))
        return self.base + name if bare else name

    def is_ignored(self, name: str, config: ModelConfig) -> bool:
        """Whether a stored tensor carries no weight (a mask, a second copy of a tied head)."""
        if name == "lm_head.weight":
            return config.tie_word_embeddings
        return self.ignored.search(name) is not None


def same(key: str, value: Any, reason: str) -> Need:
    """The need that a key has one value."""
    return Need(key, lambda config: getattr(config, key) == value, reason)
