"""Who says what: the unit every chat, prompt and response is made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn; role `text` marks a plain string, which is rendered without a template."""

    role: str
    content: str


Messages = tuple[Message, ...]
