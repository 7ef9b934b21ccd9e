"""How text is cut into pieces before merges: three presets, or a regular expression of one's own.

Every pattern cuts, none drops: what no alternative matches stays as a piece of its own.
"""

import re

from tokenizers import Regex

from accord.errors import AccordError, did_you_mean

PATTERNS: dict[str, str] = {
    # GPT-2: a word with the blank before it.
    "gpt2": (
        r"'(?:[sdmt]|ll|ve|re)"
        r"| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+"
        r"|[\s]+(?![^\s])|[\s]+"
    ),
    # GPT-4 (cl100k): contractions in any case, numbers by three digits, line ends on their own.
    "gpt4": (
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
        r"|[^\r\n\p{L}\p{N}]?[\p{L}]+|[\p{N}]{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|[\s]*[\r\n]|[\s]+(?![^\s])|[\s]+"
    ),
    # A vowel sign is a mark, not a letter: `\p{L}+` alone would cut every Indic syllable. The
    # joiners U+200C and U+200D, which choose a conjunct's form, belong to the syllable too.
    "indic": (
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
        r"|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}][\p{L}\p{M}"
        "\u200c\u200d"
        r"]*|[\p{N}]{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        r"|[\s]*[\r\n]|[\s]+(?![^\s])|[\s]+"
    ),
}
"""Split presets by name, in Oniguruma's syntax.

Character classes stand in brackets, also alone, so that `corpus` can put their members there.
"""


def split_pattern(pattern: str) -> str:
    """The regular expression of a preset's name, or a checked expression of one's own.

    Raises:
        AccordError: A bare word that is no preset, or an expression that does not compile.
    """
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if re.fullmatch(r"[\w-]*", pattern):
        raise AccordError(
            f"unknown split pattern '{pattern}'",
            where="pattern",
            fix=f"{did_you_mean(pattern, PATTERNS)} or give a regular expression",
        )
    try:
        Regex(pattern)
    except Exception as error:  # the binding raises a bare Exception
        raise AccordError(
            f"the split pattern is not a valid regular expression: {error}",
            where="pattern",
            fix=f"mend '{pattern}' (Oniguruma syntax) or use a preset: {', '.join(PATTERNS)}",
        ) from error
    return pattern
