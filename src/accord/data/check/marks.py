"""A rendered row as styled text: the masked part dim, control tokens and the cut visible."""

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from accord.data.check.rendering import Segment

HEAD, TAIL = 160, 100
"""Characters of a long stretch that are shown at its two ends."""
NEWLINE, CUT = "⏎", "✂"


def marked(segments: Sequence[Segment], marks: bool) -> Text:
    """Segments one after the other, long ones with their middle left out.

    Args:
        segments: Of one part of a row.
        marks: Whether trained stretches stand between ⟦ and ⟧.
    """
    shown = Text(overflow="fold")
    cut = False
    for trained, run in groupby(segments, lambda segment: segment.trained):
        shown.append("⟦" if trained and marks else "")
        for segment in run:
            if segment.cut and not cut:
                shown.append(f" {CUT} cut here: ", "bold red")
                cut = True
            shown.append(_short(segment), _style(segment))
        shown.append("⟧" if trained and marks else "")
    shown.rstrip()  # the line ends that a template closes with are shown by their sign
    return shown


def _style(segment: Segment) -> str:
    if segment.cut:
        return "dim strike red"
    colour = "cyan" if segment.control else "default"
    return f"bold {colour}" if segment.trained else f"dim {colour}"


def _short(segment: Segment) -> str:
    text = segment.text
    left_out = len(text) - HEAD - TAIL
    if left_out > 0:
        text = f"{text[:HEAD]} …[{left_out:,} more characters]… {text[-TAIL:]}"
    return visible(text.replace("\n", f"{NEWLINE}\n").replace("\t", "→"))


def visible(text: str) -> str:
    """Characters that a screen cannot show, or that would move its cursor, by their codes."""
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else ascii(c)[1:-1] for c in text)
