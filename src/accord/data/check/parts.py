"""The parts of a row, whatever its kind, and the keys by which rows are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow
from accord.data.split import normalised
from accord.text.messages import Message, Messages

PARTS = ("prompt", "chosen", "rejected", "response", "text")
"""Names of parts, in the order in which they are shown."""


def prompt_of(row: Row) -> Messages:
    """What a row asks; empty for a text."""
    return row.prompt if isinstance(row, ChatRow | PairRow | LabelRow) else ()


def answers_of(row: Row) -> Mapping[str, Messages]:
    """What may be trained on, by the name of the part; none where the row is only a prompt."""
    match row:
        case TextRow(text=text):
            return {"text": (Message("text", text),)}
        case PairRow(chosen=chosen, rejected=rejected):
            return {"chosen": chosen, "rejected": rejected}
        case ChatRow(completion=completion) | LabelRow(completion=completion):
            return {"response": completion} if completion else {}
    return {}


@dataclass(frozen=True, slots=True)
class Keys:
    """Hashes of a row's parts, equal where the parts are equal but for case and blanks.

    Args:
        prompt: Of the prompt; empty where there is none.
        answers: Of each answer, in the order of `answers_of`.
    """

    prompt: bytes
    answers: tuple[bytes, ...]


def keys_of(row: Row) -> Keys:
    """The keys of one row."""
    prompt = prompt_of(row)
    answers = tuple(key_of(answer) for answer in answers_of(row).values())
    return Keys(key_of(prompt) if prompt else b"", answers)


def key_of(messages: Messages) -> bytes:
    """Hash of what the messages say, normalised; 128 bits, so that equal means equal."""
    said = normalised("\n".join(message.content for message in messages))
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
