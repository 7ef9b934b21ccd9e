"""One sampled completion as a reward sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord.rollout.requests import Finish
from accord.text.messages import Messages

EXCERPT = 60
"""Characters of a prompt and of a completion that a message shows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt, what a policy wrote after it, and the columns of the prompt's row.

    Args:
        prompt: The prompt as a reader sees it.
        completion: The decoded completion without what ended it.
        prompt_ids: The ids after which the completion starts.
        ids: Every id drawn, the one that ended it included.
        finished: `end` by the end token, `stop` by a stop token or string, `length` cut off.
        continues: Whether the completion goes on in the prompt's text rather than answering it.
        extra: Columns of the prompt's row, such as `answer`.
        name: What messages call the sample: the row's `file:line`, or its id.
        messages: The turns before the response (which is `text`); none: unknown.
    """

    prompt: str
    completion: str
    prompt_ids: Sequence[int]
    ids: Sequence[int]
    finished: Finish
    continues: bool
    extra: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    messages: Messages | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the completion, the one that ended it left out."""
        return len(self.ids) - (self.finished != "length")

    @property
    def text(self) -> str:
        """What a reader judges: the whole text for a continuation, else the answer."""
        return self.prompt + self.completion if self.continues else self.completion

    @property
    def shown(self) -> str:
        """Its name and how prompt and completion begin, for messages."""
        excerpt = f"prompt {_cut(self.prompt)}, completion {_cut(self.completion)}"
        return f"{self.name}: {excerpt}" if self.name else excerpt


Reward = Callable[[Sequence[Answer]], list[float]]
"""What each of several answers is worth."""

Judge = Callable[[Answer], Any]
"""What one answer is worth; anything that is a finite number."""


def _cut(text: str) -> str:
    return repr(text if len(text) <= EXCERPT else text[:EXCERPT] + "…")
