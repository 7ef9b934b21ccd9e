"""Text in and out: the tokenizer, the one renderer of chats, and tokenizer measurements."""

from accord.text.messages import Message, Messages
from accord.text.tokenizer import Tokenizer

__all__ = ["Message", "Messages", "Tokenizer"]
