"""The four kinds of row that every stage is fed with, whatever the file looked like."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accord.text.messages import Messages


def digest(content: Any) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value, the same on every machine."""
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # a lone surrogate has no UTF-8 form; rows that hold one are refused later, by their place
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def plain(messages: Messages) -> list[list[str]]:
    """Messages as lists of role and content, the form that is hashed and written to files."""
    return [[message.role, message.content] for message in messages]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What every row carries beside its content.

    Args:
        where: `file:line` of the row.
        source: Name of the source it came from, the key of its account.
        group: Rows of one group are held out together; none: the row stands for itself.
        language: What its source says it is written in; none: the source does not say.
        extra: The columns that the format did not use.
        id: Hash of the content alone, not of place or extra.
    """

    where: str = ""
    source: str = ""
    group: str | None = None
    language: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", digest(self.content()))

    def content(self) -> dict[str, Any]:
        """The part of the row that the model sees, as JSON values."""
        raise NotImplementedError


@dataclass(frozen=True)
class TextRow(Row):
    """A document for next-token training."""

    text: str

    def content(self) -> dict[str, Any]:
        """The text."""
        return {"text": self.text}


@dataclass(frozen=True)
class ChatRow(Row):
    """A prompt and its response; the response ends with an assistant (or plain text) turn."""

    prompt: Messages
    completion: Messages

    def content(self) -> dict[str, Any]:
        """Prompt and completion."""
        return {"prompt": plain(self.prompt), "completion": plain(self.completion)}


@dataclass(frozen=True)
class Drawn:
    """A pair's tokens as a model drew them, which its text need not encode to again."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True)
class PairRow(Row):
    """A preferred and a worse response to one prompt.

    Args:
        prompt: What both answer.
        chosen: The preferred response.
        rejected: The worse one.
        margin: How much better, if known.
        cut_off: Whether each side was cut off at a limit: it has no end to be learnt.
        drawn: The tokens to train on, where they are known; none: those of the text.
    """

    prompt: Messages
    chosen: Messages
    rejected: Messages
    margin: float | None = None
    cut_off: tuple[bool, bool] = (False, False)
    drawn: Drawn | None = None

    def content(self) -> dict[str, Any]:
        """Prompt, both responses and, where there is one, the margin."""
        parts: dict[str, Any] = {
            "prompt": plain(self.prompt),
            "chosen": plain(self.chosen),
            "rejected": plain(self.rejected),
        }
        return parts if self.margin is None else parts | {"margin": self.margin}


@dataclass(frozen=True)
class LabelRow(Row):
    """A response and whether it is wanted."""

    prompt: Messages
    completion: Messages
    label: bool

    def content(self) -> dict[str, Any]:
        """Prompt, completion and label."""
        return {
            "prompt": plain(self.prompt),
            "completion": plain(self.completion),
            "label": self.label,
        }
