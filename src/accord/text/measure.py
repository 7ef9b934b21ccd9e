"""How many tokens a tokenizer needs, by script: the table that compares two tokenizers."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_SCRIPTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "Latin": (
        (0x0041, 0x005A),
        (0x0061, 0x007A),
        (0x00AA, 0x00AA),
        (0x00BA, 0x00BA),
        (0x00C0, 0x00D6),
        (0x00D8, 0x00F6),
        (0x00F8, 0x02B8),
        (0x1E00, 0x1EFF),
        (0xFF21, 0xFF3A),
        (0xFF41, 0xFF5A),
    ),
    "Greek": ((0x0370, 0x03FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x0400, 0x052F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Hebrew": ((0x0590, 0x05FF),),
    "Arabic": ((0x0600, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF), (0xFB50, 0xFDFF)),
    "Devanagari": ((0x0900, 0x0963), (0x0966, 0x097F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x0980, 0x09FF),),
    "Tamil": ((0x0B80, 0x0BFF),),
    "Telugu": ((0x0C00, 0x0C7F),),
    "Kannada": ((0x0C80, 0x0CFF),),
    "Malayalam": ((0x0D00, 0x0D7F),),
    "Thai": ((0x0E00, 0x0E7F),),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "Kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Han": (
        (0x2E80, 0x2FDF),
        (0x3005, 0x3007),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x3FFFF),
    ),
}
_RANGES = sorted((low, high, name) for name, spans in _SCRIPTS.items() for low, high in spans)
_STARTS = [low for low, _, _ in _RANGES]

_DOMINANT = 0.9  # a line with less of its commonest script than this is Mixed


@dataclass(frozen=True, slots=True)
class ScriptRow:
    """One line of the tokenizer report.

    Args:
        script: A script's name, `Mixed`, `Other` or `Overall`.
        lines: Lines of text.
        bytes: Their UTF-8 bytes.
        words: Their words, cut at white space.
        tokens: Their tokens.
        tokens_per_kb: Tokens per 1,000 bytes.
        bytes_per_token: Bytes per token.
        fertility: Tokens per word.
        p95_tokens: 95th percentile of the tokens a line, interpolated.
    """

    script: str
    lines: int
    bytes: int
    words: int
    tokens: int
    tokens_per_kb: float
    bytes_per_token: float
    fertility: float
    p95_tokens: float


def script_of(line: str) -> str:
    """The script of at least 90 % of a line's letters, `Mixed`, or `Other` where none is known."""
    counts: Counter[str] = Counter()
    unknown = 0
    for character, count in Counter(line).items():
        at = bisect_right(_STARTS, ord(character)) - 1
        if at >= 0 and ord(character) <= _RANGES[at][1]:
            counts[_RANGES[at][2]] += count
        elif character.isalpha():
            unknown += count
    total = counts.total() + unknown
    if not counts or unknown >= _DOMINANT * total:
        return "Other"
    script, most = counts.most_common(1)[0]
    return script if most >= _DOMINANT * total else "Mixed"


def measure(encode: Callable[[str], Sequence[int]], lines: Iterable[str]) -> list[ScriptRow]:
    """A row for each script met, the one with most bytes first, then `Overall`.

    Args:
        encode: Text to ids: `tokenizer.encode`, or any other to stand beside it.
        lines: Lines of text; empty ones are left out.
    """
    measured: dict[str, list[tuple[int, int, int]]] = {}
    for line in lines:
        if line:
            figures = (len(line.encode()), len(line.split()), len(encode(line)))
            measured.setdefault(script_of(line), []).append(figures)
    rows = [_row(script, figures) for script, figures in measured.items()]
    rows.sort(key=lambda row: (-row.bytes, row.script))
    return [*rows, _row("Overall", [f for figures in measured.values() for f in figures])]


def to_json(rows: Iterable[ScriptRow]) -> list[dict[str, Any]]:
    """The rows as JSON objects."""
    return [asdict(row) for row in rows]


def _row(script: str, figures: Sequence[tuple[int, int, int]]) -> ScriptRow:
    table = np.array(figures, dtype=np.int64).reshape(-1, 3)
    size, words, tokens = (int(total) for total in table.sum(axis=0))
    return ScriptRow(
        script=script,
        lines=len(table),
        bytes=size,
        words=words,
        tokens=tokens,
        tokens_per_kb=1000 * _ratio(tokens, size),
        bytes_per_token=_ratio(size, tokens),
        fertility=_ratio(tokens, words),
        p95_tokens=float(np.percentile(table[:, 2], 95)) if len(table) else 0.0,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
