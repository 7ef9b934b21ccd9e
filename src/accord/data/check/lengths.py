"""Lengths of the parts of rows: percentiles, means and a histogram in bins that widen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.data.check.parts import PARTS, answers_of, prompt_of
from accord.data.rows import Row
from accord.text.messages import Messages

PERCENTILES = {"min": 0, "p5": 5, "p50": 50, "p95": 95, "p99": 99, "max": 100}
BINS = 18
"""Bins of a histogram."""
WHOLE = "whole"
"""The prompt and its longest answer, which is what `max_length` limits."""

Sizes = dict[str, list[int]]
"""Length of each row's part, by the part's name."""


@dataclass(frozen=True)
class Spread:
    """How long one part is over all rows that have it.

    Args:
        rows: How many have it.
        mean: Mean length.
        percentiles: Lengths that rows have, by name (`min`, `p5`, … `max`).
        histogram: Rows by bin, in the bins of `edges_of`; none for the whole.
    """

    rows: int
    mean: float
    percentiles: Mapping[str, int]
    histogram: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "rows": self.rows,
            "mean": round(self.mean, 2),
            **self.percentiles,
            "histogram": list(self.histogram),
        }


@dataclass(frozen=True)
class Lengths:
    """Spreads of all parts in one unit; bin i holds lengths of edges[i] to edges[i + 1] - 1."""

    edges: tuple[int, ...]
    parts: Mapping[str, Spread]

    def to_json(self) -> dict[str, Any]:
        """`{edges, <part>: …}`."""
        return {"edges": list(self.edges)} | {
            name: spread.to_json() for name, spread in self.parts.items()
        }


def lengths_of(sizes: Sizes) -> Lengths:
    """Spreads of sizes by part; parts that no row has are left out."""
    known = {name: np.asarray(sizes[name]) for name in (*PARTS, WHOLE) if sizes.get(name)}
    bars = [values for name, values in known.items() if name != WHOLE] or [np.zeros(1, int)]
    edges = edges_of(min(int(v.min()) for v in bars), max(int(v.max()) for v in bars))
    spreads = {
        name: Spread(
            len(values),
            float(values.mean()),
            _percentiles(values),
            tuple(np.histogram(values, bins=[*edges[:-1], np.inf])[0].tolist())
            if name != WHOLE
            else (),
        )
        for name, values in known.items()
    }
    return Lengths(edges, spreads)


def edges_of(shortest: int, longest: int) -> tuple[int, ...]:
    """Edges of bins from `shortest` to `longest`: 0, 1, 2, 3, 4, 6, 8, 12, …, two to a doubling.

    Where that would be more than `BINS`, one to a doubling.
    """
    octaves = [1 << power for power in range(longest.bit_length() + 1)]
    halves = sorted({0, *octaves, *(3 * edge // 2 for edge in octaves if edge > 1)})
    edges = _within(halves, shortest, longest)
    return edges if len(edges) <= BINS + 1 else _within([0, *octaves], shortest, longest)


def _within(edges: Sequence[int], shortest: int, longest: int) -> tuple[int, ...]:
    """The edges around two lengths and between them."""
    first = max(i for i, edge in enumerate(edges) if edge <= shortest)
    last = min(i for i, edge in enumerate(edges) if edge > longest)
    return tuple(edges[first : last + 1])


def _percentiles(values: np.ndarray) -> dict[str, int]:
    points = np.percentile(values, list(PERCENTILES.values()), method="inverted_cdf")
    return dict(zip(PERCENTILES, points.astype(int).tolist(), strict=True))


def characters(messages: Messages) -> int:
    """Characters of all contents."""
    return sum(len(message.content) for message in messages)


def words(messages: Messages) -> int:
    """Words of all contents, as blanks part them."""
    return sum(len(message.content.split()) for message in messages)


def text_sizes(rows: Iterable[Row]) -> dict[str, Sizes]:
    """Sizes of each part in characters and in words."""
    measures = {"characters": characters, "words": words}
    found: dict[str, Sizes] = {unit: {} for unit in measures}
    for row in rows:
        prompt, answers = prompt_of(row), answers_of(row)
        for unit, measure in measures.items():
            sizes = {name: measure(answer) for name, answer in answers.items()}
            before = measure(prompt)
            whole = before + max(sizes.values(), default=0)
            add_sizes(found[unit], before if prompt else None, sizes, whole)
    return found


def add_sizes(sizes: Sizes, prompt: int | None, answers: Mapping[str, int], whole: int) -> None:
    """Add one row's sizes; none for a prompt that it has not."""
    if prompt is not None:
        sizes.setdefault("prompt", []).append(prompt)
    for name, size in answers.items():
        sizes.setdefault(name, []).append(size)
    sizes.setdefault(WHOLE, []).append(whole)
