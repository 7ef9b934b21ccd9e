"""A stranger's `tokenizer.json`, read with its size, tokens and patterns kept within bounds."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers

from accord.errors import AccordError
from accord.text.confined import inside
from accord.text.patterns import PATTERNS
from accord.text.strings import is_text, surrogate

MAX_BYTES = 96 * 2**20
"""Of a tokenizer's file: three times what the largest vocabularies take."""
MAX_ADDED = 2**18
"""Added tokens: four times what models with codes for sound and pictures have."""
MAX_TOKEN = 4096
"""Characters of a token; one of a million makes every look-up a million steps long."""

_CHILD = Path(__file__).with_name("pattern_child.py")
_AGAIN = "fetch or save it again, from a source you trust"


def read_core(path: Path) -> tokenizers.Tokenizer:
    """The tokenizers library's object of a `tokenizer.json`.

    Raises:
        AccordError: The library cannot read it, it is too large in one way or another, or a regular
            expression in it takes for ever.
    """
    check_size(path)
    try:
        core = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except BaseException as error:  # the binding raises bare Exceptions, and panics
        if not (isinstance(error, Exception) or _is_panic(error)):
            raise
        raise AccordError(f"tokenizer.json cannot be read: {error}", str(path), _AGAIN) from None
    check_patterns(_patterns(core), str(path))
    added = core.get_added_tokens_decoder()
    if len(added) > MAX_ADDED:
        raise AccordError(
            f"tokenizer.json has {len(added):,} added tokens; the limit is {MAX_ADDED:,}",
            str(path),
            _AGAIN,
        )
    check_tokens(core.get_vocab(with_added_tokens=True), str(path))
    return core


def check_size(path: Path) -> None:
    """Refuse a tokenizer's file that is larger than any tokenizer, or a link out of its folder.

    Raises:
        AccordError: It is.
    """
    if (size := inside(path).stat().st_size) > MAX_BYTES:
        raise AccordError(
            f"{path.name} has {size / 2**20:.0f} MB; the limit is {MAX_BYTES // 2**20} MB",
            str(path),
            _AGAIN,
        )


def check_tokens(tokens: Iterable[str | bytes], where: str) -> None:
    """Refuse a token that is longer than any token.

    Raises:
        AccordError: There is one.
    """
    longest = max(map(len, tokens), default=0)
    if longest > MAX_TOKEN:
        raise AccordError(
            f"a token has {longest:,} characters; the limit is {MAX_TOKEN:,}", where, _AGAIN
        )


def check_patterns(patterns: Iterable[str], where: str) -> None:
    """Try regular expressions on texts that make bad ones slow.

    Raises:
        AccordError: One takes longer than any that cuts words does, or is none.
    """
    for pattern in sorted(set(patterns)):
        if not _is_quick(pattern):
            raise AccordError(
                f"the regular expression that cuts words takes too long: {pattern[:60]!r}",
                where,
                "give a pattern that does not try a text again and again: no (a+)+",
            )


@lru_cache(maxsize=64)
def _is_quick(pattern: str) -> bool:
    """Whether an expression is a preset, or stands its trial in a process of its own."""
    if pattern in PATTERNS.values():
        return True
    done = subprocess.run(
        [sys.executable, "-I", str(_CHILD)],
        input=json.dumps(pattern).encode(),
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    return done.stdout.strip() == b"linear"


@contextmanager
def library(*texts: str) -> Iterator[None]:
    """What the tokenizers library raises over texts, as a message.

    Raises:
        AccordError: A text holds a lone surrogate, or a regular expression gives up on it.
    """
    try:
        yield
    except TypeError as error:
        raise surrogate(next((t for t in texts if not is_text(t)), "")) from error
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise AccordError(
            f"the tokenizer fails on this text: {str(error)[:200]}",
            "tokenizer.json",
            "its regular expressions are at fault: take another tokenizer, or leave the text out",
        ) from None


def _is_panic(error: BaseException) -> bool:
    """Whether it is a panic of a Rust library, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


def _patterns(core: tokenizers.Tokenizer) -> Iterator[str]:
    """Regular expressions in the parts of a tokenizer that cut and change text."""
    held = (core.normalizer, core.pre_tokenizer, core.decoder)
    parts: list[Any] = [json.loads(part.__getstate__()) for part in held if part is not None]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            pattern = part.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
                yield pattern["Regex"]
            parts += part.values()
        elif isinstance(part, list):
            parts += part
