"""Tries a tokenizer's regular expression on texts that make bad ones slow.

`core` starts this file as a script, a process that the kernel ends after `CPU_SECONDS`. It imports
nothing of Accord; the expression comes in as JSON, and the word `linear` goes out.
"""

import json
import signal
import sys
from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

CPU_SECONDS = 1.0
"""Of the trial; what is linear needs a fifth of it."""
LENGTH = 10_000
"""Characters of a trial text."""
COMMON = "aA1 \n!'é漢क"


def texts(pattern: str) -> Iterator[str]:
    """One character or two over and over, then one that ends the run.

    All that the pattern names stands once behind that: an expression is not tried at all where a
    character that it needs is nowhere.
    """
    named = "".join(dict.fromkeys(c for c in pattern if c.isalnum()))
    for letter in dict.fromkeys(COMMON + named):
        for end in ("", "\0", "b", f"\0{named}"):
            yield letter * LENGTH + end
    for letter in " 1!\n":
        yield f"a{letter}" * (LENGTH // 2) + "\0"


def main() -> None:
    """Try the expression that comes in."""
    pattern = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    for text in texts(pattern):
        split.pre_tokenize_str(text)
    print("linear")


if __name__ == "__main__":
    main()
