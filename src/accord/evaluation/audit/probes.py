"""Damage that a judge must notice: the preferred answer, spoilt, has to score lower than intact."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accord.data.rows import digest, plain
from accord.evaluation.audit.estimates import share
from accord.evaluation.audit.item import Item, Scores
from accord.evaluation.audit.pairs import Audited

FEWEST_WORDS = 4
"""Words below which an answer has no half and no order to speak of."""
EMPTY = "."
"""An answer that says nothing."""


@dataclass(frozen=True)
class Probe:
    """One kind of damage.

    Args:
        says: What is done to the answer, as the report puts it.
        damaged: The spoilt item of an answer and somebody else's; none: does not apply.
        needs_prompt: Whether it is about the prompt, so that texts without one cannot be probed.
    """

    says: str
    damaged: Callable[[Item, Item], Item | None]
    needs_prompt: bool = False


def _truncated(item: Item, other: Item) -> Item | None:
    content = item.answer[-1].content
    words = content.split()
    return item.saying(content[: _end_of(content, len(words) // 2)]) if _long(words) else None


def _shuffled(item: Item, other: Item) -> Item | None:
    words = item.answer[-1].content.split()
    seed = int(digest([plain(item.prompt), plain(item.answer)]), 16)
    mixed = [words[at] for at in np.random.default_rng(seed).permutation(len(words))]
    return item.saying(" ".join(mixed)) if _long(words) and mixed != words else None


def _repeated(item: Item, other: Item) -> Item | None:
    content = item.answer[-1].content
    return item.saying(f"{content}\n{content}")


def _emptied(item: Item, other: Item) -> Item | None:
    return item.saying(EMPTY)


def _others_answer(item: Item, other: Item) -> Item | None:
    return item.saying(other.answer[-1].content) if other.prompt != item.prompt else None


def _others_prompt(item: Item, other: Item) -> Item | None:
    roles = [{message.role for message in one.prompt} for one in (item, other)]
    if other.prompt == item.prompt or roles[0] != roles[1]:
        return None
    return Item(other.prompt, item.answer, item.cut_off)


def _copied(item: Item, other: Item) -> Item | None:
    return item.saying(item.prompt[-1].content) if item.prompt else None


PROBES: Mapping[str, Probe] = {
    "truncated": Probe("cut to its first half", _truncated),
    "shuffled": Probe("with its words shuffled", _shuffled),
    "repeated": Probe("said twice", _repeated),
    "emptied": Probe("replaced by a full stop", _emptied),
    "other_answer": Probe("replaced by another prompt's preferred answer", _others_answer, True),
    "other_prompt": Probe("put under another prompt", _others_prompt, True),
    "prompt_copied": Probe("replaced by a copy of its prompt", _copied, True),
}


def sensitivity(pairs: Audited, with_prompts: bool, scores: Scores) -> dict[str, Any]:
    """For every probe the share of preferred answers that score lower when spoilt.

    Each preferred answer counts once. Keys of a probe: those of an estimate, `ties` (share that
    score the same), `drop` (mean fall in spreads of the score), `says`; or `left_out`, why.
    """
    intact = dict.fromkeys(chosen for chosen, _ in pairs.sides)
    unit_of = dict(pairs.once())
    kept = [item for item in intact if scores.judge.whole(item)]
    others = _others(kept)
    found: dict[str, Any] = {}
    for name, probe in PROBES.items():
        if probe.needs_prompt and not with_prompts:
            found[name] = {"says": probe.says, "left_out": "the model reads no prompts"}
            continue
        made = [
            (item, probe.damaged(item, other)) for item, other in zip(kept, others, strict=True)
        ]
        both = [(item, bad) for item, bad in made if bad is not None and bad != item]
        sound = scores.readable([bad for _, bad in both])
        both = [couple for couple, fits in zip(both, sound, strict=True) if fits]
        found[name] = {"says": probe.says, **_lower(both, unit_of, pairs.spread, scores)}
    return found


def _lower(
    both: Sequence[tuple[Item, Item]],
    unit_of: Mapping[Item, Hashable],
    spread: float,
    scores: Scores,
) -> dict[str, Any]:
    if not both:
        return {"left_out": "no answer that it can be done to"}
    fall_T = scores([item for item, _ in both]) - scores([bad for _, bad in both])
    units = [unit_of[item] for item, _ in both]
    return {
        **share(fall_T > 0, units).to_json(),
        "ties": float((fall_T == 0).mean()),
        "drop": float(fall_T.mean()) / spread if spread else None,
    }


def _others(items: Sequence[Item]) -> list[Item]:
    """For each item another with a different prompt where there is one; drawn by hash.

    In an order that the content decides, each takes the next one that was asked something else.
    """
    order = sorted(range(len(items)), key=lambda i: digest(["other", plain(items[i].answer)]))
    found = list(items)
    for place, at in enumerate(order):
        later = (order[(place + step) % len(order)] for step in range(1, len(order)))
        found[at] = next(
            (items[i] for i in later if items[i].prompt != items[at].prompt), items[at]
        )
    return found


def _long(words: Sequence[str]) -> bool:
    return len(words) >= FEWEST_WORDS


def _end_of(content: str, words: int) -> int:
    """Characters up to the end of the first `words` words, blanks and line breaks as they are."""
    at = 0
    for word in content.split()[:words]:
        at = content.index(word, at) + len(word)
    return at
