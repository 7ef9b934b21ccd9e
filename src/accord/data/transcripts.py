"""Conversations written as one text, `Human: … Assistant: …` (hh-rlhf), as messages."""

import re

from accord.text.messages import Message, Messages

_MARK = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(text: str) -> bool:
    """Whether a text opens with a speaker's mark after a blank line, or has both marks."""
    if text.startswith(("\n\nHuman:", "\n\nAssistant:")):
        return True
    return text.startswith("Human:") and "\n\nAssistant:" in text


def transcript(text: str) -> Messages:
    """The turns of a transcript.

    A mark of the speaker who has the turn already is something that speaker quotes, and stays
    text; one that stands right behind an empty turn takes its place. A quoted mark of the other
    speaker cannot be told from a turn.
    """
    text = f"\n\n{text.strip()}"  # every mark begins alike: faster to find
    turns: list[tuple[str, int, int]] = []  # who, where the mark begins, where the words do
    for mark in _MARK.finditer(text):
        who, begins, behind = mark[1], mark.start(), mark.end()
        if turns and turns[-1][0] == who:
            if text[turns[-1][2] : begins].strip():
                continue
            begins = turns.pop()[1]
        turns.append((who, begins, behind))
    ends = [*(begins for _, begins, _ in turns[1:]), len(text)]
    return tuple(
        Message(_ROLES[who], text[behind:end].strip())
        for (who, _, behind), end in zip(turns, ends, strict=True)
    )
