"""What is evaluated: prompts, and what a policy wrote after them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """One fixed evaluation prompt.

    Args:
        id: First 16 hex digits of a hash of its content; seeds are drawn from it.
        text: The prompt as a reader sees it.
        ids: The token ids after which a completion starts.
        continues: Whether the completion goes on in the same text (an opening of held-out text)
            rather than answering a turn of chat.
    """

    id: str
    text: str
    ids: tuple[int, ...]
    continues: bool


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


def judged_text(prompt: Prompt, sample: Sample) -> str:
    """The text that a reader would judge: the whole text for a continuation, else the answer."""
    return prompt.text + sample.text if prompt.continues else sample.text
