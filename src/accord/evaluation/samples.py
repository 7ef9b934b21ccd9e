"""What is evaluated: prompts, and what a policy wrote after them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.rewards.answer import Answer, Finish
from accord.text.messages import Messages


@dataclass(frozen=True)
class Prompt:
    """One fixed evaluation prompt.

    Args:
        id: First 16 hex digits of a hash of its content; seeds are drawn from it.
        text: The prompt as a reader sees it.
        ids: The token ids after which a completion starts.
        continues: Whether the completion goes on in the same text (an opening of held-out text)
            rather than answering a turn of chat.
        messages: The turns before the response; none: unknown.
        extra: Columns of the row it was taken from that rewards may judge by.
        where: `file:line` of that row.
    """

    id: str
    text: str
    ids: tuple[int, ...]
    continues: bool
    messages: Messages | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    where: str = ""


@dataclass(frozen=True)
class Sample:
    """One completion.

    Args:
        text: The completion, decoded, without the token or string that ended it.
        ids: Every token drawn, the one that ended it included; at least one.
        ended: Whether the policy ended it itself, rather than being cut off at the limit.
        length: Tokens without the one that ended it.
    """

    text: str
    ids: tuple[int, ...]
    ended: bool
    length: int


def answer_of(prompt: Prompt, sample: Sample) -> Answer:
    """The completion as rewards see it."""
    return answered(prompt, sample.text, sample.ids, "end" if sample.ended else "length")


def answered(prompt: Prompt, text: str, ids: Sequence[int], finished: Finish) -> Answer:
    """What was written after a prompt, as rewards see it."""
    return Answer(
        prompt=prompt.text,
        completion=text,
        prompt_ids=prompt.ids,
        ids=ids,
        finished=finished,
        continues=prompt.continues,
        extra=prompt.extra,
        name=prompt.where or prompt.id,
        messages=prompt.messages,
    )
