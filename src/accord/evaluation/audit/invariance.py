"""What must not change a score: the batch it is in exactly, white space nearly."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from accord.data.rows import digest, plain
from accord.evaluation.audit.estimates import share
from accord.evaluation.audit.item import ITEMS_AT_ONCE, Floats, Item, Scores
from accord.evaluation.audit.pairs import Audited

TRIED = 32
"""Answers that are scored again in other company."""
RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""What rounding may change: this share of the scores' spread, or this share of the largest one."""

BLANKS: Mapping[str, Callable[[str], str]] = {
    "trailing_space": lambda text: text + "  ",
    "trailing_newline": lambda text: text + "\n",
    "doubled_newlines": lambda text: text.replace("\n", "\n\n"),
}


def batching(pairs: Audited, pad_is_end: bool | None, scores: Scores) -> dict[str, Any]:
    """Largest change of a score by its company: `alone`, `padding`, `order`; and the `tolerance`.

    `alone` compares a batch of one with the batch of like lengths; `padding` puts each beside the
    longest answer; `order` turns a batch of all of them round. `pad_is_end` says whether pad and
    end token are one (null: unknown): the answers end with it, so that a scorer which takes it for
    padding shows here too.
    """
    items = _tried([item for item, _ in pairs.once()], scores)
    known_R = scores(items)
    longest = max(items, key=lambda item: (scores.judge.size(item), item.text))
    together = scores.judge.together
    alone_R = np.array([together([item])[0] for item in items])
    padded_R = np.array([together([item, longest])[0] for item in items])
    batch = items[:ITEMS_AT_ONCE]
    turned_R = np.array(together(batch[::-1])[::-1])
    in_turn_R = np.array(together(batch))
    largest = float(np.abs(known_R).max())
    return {
        "alone": _most(alone_R, known_R),
        "padding": _most(padded_R, alone_R),
        "order": _most(turned_R, in_turn_R),
        "tolerance": max(RELATIVE * pairs.spread, ABSOLUTE * max(1.0, largest)),
        "rows": len(items),
        "pad_is_end": pad_is_end,
    }


def white_space(pairs: Audited, scores: Scores) -> dict[str, Any]:
    """For each change of blanks: share of pairs whose order flips, and the mean |Δ| in spreads.

    Each side is changed in turn beside the other one intact; a pair flips if either does it. A
    tie that is broken, or comes about, counts. Pairs in which nothing changes are left out.
    """
    return {name: _flips(pairs, change, scores) for name, change in BLANKS.items()}


def _flips(pairs: Audited, change: Callable[[str], str], scores: Scores) -> dict[str, Any]:
    altered = [
        tuple(item.saying(change(item.answer[-1].content)) for item in both) for both in pairs.sides
    ]
    kept = [
        at
        for at, (new, old) in enumerate(zip(altered, pairs.sides, strict=True))
        if new != old and all(scores.readable((*new, *old)))
    ]
    if not kept:
        return {"left_out": "no answer that it changes"}
    unit_P = pairs.unit_P
    old_P2 = pairs.score_P2[kept]
    new_P2 = scores([item for at in kept for item in altered[at]]).reshape(-1, 2)
    before_P = np.sign(old_P2[:, 0] - old_P2[:, 1])
    flipped_P = (np.sign(new_P2[:, 0] - old_P2[:, 1]) != before_P) | (
        np.sign(old_P2[:, 0] - new_P2[:, 1]) != before_P
    )
    moved = float(np.abs(new_P2 - old_P2).mean())
    return {
        **share(flipped_P, [unit_P[at] for at in kept]).to_json(),
        "change": moved / pairs.spread if pairs.spread else None,
    }


def _tried(items: Sequence[Item], scores: Scores) -> list[Item]:
    """Some of the items, drawn by hash, the shortest and the longest among them."""
    ordered = sorted(items, key=lambda item: digest([plain(item.prompt), plain(item.answer)]))
    by_size = sorted(items, key=scores.judge.size)
    return list(dict.fromkeys([by_size[0], by_size[-1], *ordered]))[:TRIED]


def _most(one_R: Floats, other_R: Floats) -> float:
    return float(np.abs(one_R - other_R).max())
