"""The one exception a user should ever see, and the spelling help that goes with it."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 40
"""Words that a message lists at most."""


class AccordError(Exception):
    """A mistake the user can mend: what happened, where, and how to mend it.

    Args:
        what: One sentence in plain words.
        where: `file:line`, a recipe key such as `stages.dpo.beta`, or empty.
        fix: What to do about it, or empty.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__("\n".join(line for line in self.lines()))

    def lines(self) -> list[str]:
        """The message, a line each for what, where and how to mend it."""
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.fix:
            parts.append(f"  fix:   {self.fix}")
        return parts


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion such as `did you mean 'beta'?`, or the list of known words."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f", … ({len(known)} in all)" if len(known) > MOST else ""
    return "known: " + ", ".join(known[:MOST]) + more if known else ""
