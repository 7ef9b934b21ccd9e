"""A message and a conversation: what data rows hold and the chat renderer reads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        role: `system`, `user` or `assistant`; `text` for a plain string that no template touches.
        content: The turn's text, kept to the last blank.
    """

    role: str
    content: str


Messages = tuple[Message, ...]
"""A conversation, oldest turn first."""
