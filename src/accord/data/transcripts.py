"""Conversations written as one text, `Human: … Assistant: …` (hh-rlhf), as messages."""

import re

from accord.text.messages import Message, Messages

_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):")
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
    text = text.strip()
    marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if marks and marks[-1][1] == mark[1]:
            if not text[marks[-1].end() : mark.start()].strip():
                marks[-1] = mark
            continue
        marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return tuple(
        Message(_ROLES[mark[1]], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    )
