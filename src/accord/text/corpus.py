"""Encoding a corpus fast: cut into words here, encode each distinct word once.

Most of the tokenizers library's time goes into its regular expressions. Python's `re` cuts several
times faster but has no `\\p{L}`, so the presets are rewritten with the very characters that the
library's own expressions take for letters, marks, numbers and blanks. `Tokenizer.encode` is the
slow twin: the ids are equal.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from accord.text.bpe import byte_level_bpe
from accord.text.patterns import PATTERNS

_CLASSES = (r"\p{L}", r"\p{M}", r"\p{N}", r"\s")
_BEYOND = re.compile("[^\u0000-\ud7ff\ue000-\uffff]")  # emoji and the like: the slow way
_LONGEST_KEPT = 64  # characters of a word worth remembering
_MOST_KEPT = 1 << 19  # words; about 100 MB


class _Words(dict[str, bytes]):
    """Ids of words, as the bytes of a uint32 array, encoded when first met."""

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self._encode(word), dtype=np.uint32).tobytes()
        if len(word) <= _LONGEST_KEPT:
            self[word] = ids
        return ids


def preset_of(definition: str) -> str | None:
    """The preset whose words a `tokenizer.json` encodes on their own; none: it is another kind."""
    parts = json.loads(definition)
    if parts["normalizer"] or not all(token["special"] for token in parts["added_tokens"]):
        return None
    for preset in PATTERNS.values():
        if parts["pre_tokenizer"] == json.loads(byte_level_bpe(preset).to_str())["pre_tokenizer"]:
            return preset
    return None


def encode_by_word(
    texts: Iterable[str], preset: str, encode: Callable[[str], Sequence[int]]
) -> list[NDArray[np.uint32]]:
    """Ids of each text, by encoding its words one by one and remembering them.

    Args:
        texts: Any texts; those with characters past U+FFFF go through `encode` whole.
        preset: The split pattern, one of `patterns.PATTERNS`' values.
        encode: The slow twin.
    """
    cut_ascii, cut = (_splitter(preset, last).findall for last in (0x7F, 0xFFFF))
    words = _Words(encode)
    encoded: list[NDArray[np.uint32]] = []
    for text in texts:
        if _BEYOND.search(text):
            encoded.append(np.array(encode(text), dtype=np.uint32))
            continue
        pieces = cut_ascii(text) if text.isascii() else cut(text)
        ids = bytearray().join(map(words.__getitem__, pieces))
        encoded.append(np.frombuffer(ids, dtype=np.uint32))
        if len(words) > _MOST_KEPT:
            words.clear()
    return encoded


@lru_cache(maxsize=8)
def _splitter(preset: str, last: int) -> re.Pattern[str]:
    """The preset in the syntax of `re`, for text up to the character `last`."""
    # ASCII has a pattern of its own because short classes match faster.
    for name in _CLASSES:
        ranges = [(a, min(b, last)) for a, b in _members(name) if a <= last]
        preset = preset.replace(name, "".join(f"\\u{a:04x}-\\u{b:04x}" for a, b in ranges))
    return re.compile(preset)


@lru_cache(maxsize=len(_CLASSES))
def _members(name: str) -> list[tuple[int, int]]:
    """First and last character of each range up to U+FFFF that the library's `name` matches."""
    characters = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000))))
    split = pre_tokenizers.Split(Regex(f"{name}+"), behavior="isolated")
    runs = [run for run, _ in split.pre_tokenize_str(characters)]
    # Maximal runs of members and of others take turns, and U+0000 is a member of none.
    return [(ord(run[0]), ord(run[-1])) for run in runs[1::2]]
