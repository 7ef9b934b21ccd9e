"""Bytes that nobody meant: drawn at random, or made from whole files by damage."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

TOKENS = (
    b"\0", b"\r", b"\n", b"\n\n", b"\t", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\\",
    b"\\ud83d", b"\\u0000", b"null", b"true", b"NaN", b"Infinity", b"1e999", b"9" * 40, b"-1",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc3", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1f\x8b",
    b"PAR1", b"ARROW1", b"PK\x03\x04", b"\x80\x04", b"<<: *x", b"&x", b"*x", b"!!python/name:os",
    b"- ", b"? ", b"|", b">", b"%", b"#", b"../", b"~", b"\xef\xbf\xbf", "ﬁ٣".encode(), b"=",
)  # fmt: skip
"""What parsers trip over."""

WORDS = ("", "q", "a b", "\0", "\ud83d", "é", "x" * 300, "[", "{}", "<|im_end|>", "-1", "nan", "\n")


def drawn(random: Random) -> bytes:
    """A few bytes or tokens, at random."""
    if random.random() < 0.5:
        return random.randbytes(random.randrange(60))
    return b"".join(random.choice(TOKENS) for _ in range(random.randrange(12)))


def damaged(whole: bytes, random: Random) -> bytes:
    """A whole file with one to three faults: cut, flipped, repeated, moved, or written over."""
    data = whole
    for _ in range(random.randint(1, 3)):
        data = random.choice(_FAULTS)(data, random)
    return data


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _flipped(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _written_over(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(TOKENS) + data[at + random.randrange(4) :]


def _lacking(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.randrange(1, 30) :]


def _repeated(data: bytes, random: Random) -> bytes:
    begin, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[begin:end] + data[end:]


_FAULTS: Sequence[Callable[[bytes, Random], bytes]] = (
    _cut, _flipped, _flipped, _written_over, _written_over, _lacking, _repeated,
)  # fmt: skip


def value(random: Random, depth: int = 3) -> Any:
    """A JSON value of any shape."""
    choice = random.randrange(11 if depth else 8)
    if choice < 8:
        scalars = (None, True, -1, 0, 2**70, 1e999, random.choice(WORDS), random.choice(WORDS))
        return scalars[choice]
    if choice == 8:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    if choice == 9:
        roles = ("user", "assistant", "system", "x", 1, None)
        said = random.choice((value(random, depth - 1), "a", "q"))
        return [{"role": random.choice(roles), "content": said} for _ in range(random.randrange(4))]
    keys = ("role", "content", "from", "value", "type", "text", "")
    return {random.choice(keys): value(random, depth - 1) for _ in range(random.randrange(4))}


def changed(tree: Any, random: Random) -> Any:
    """A JSON value with one place in it replaced by another value, or taken away."""
    if not tree or not isinstance(tree, dict | list) or random.random() < 0.1:
        return value(random)
    if isinstance(tree, list):
        at = random.randrange(len(tree))
        return [*tree[:at], changed(tree[at], random), *tree[at + 1 :]]
    key = random.choice(list(tree))
    rest = {name: item for name, item in tree.items() if name != key}
    return rest if random.random() < 0.3 else rest | {key: changed(tree[key], random)}
