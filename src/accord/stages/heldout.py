"""How well a model predicts held-out text, in a unit that does not depend on the tokenizer."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from accord.data.packing import Example, Response, collate
from accord.data.rows import Row
from accord.model.decoder import Decoder
from accord.stages.steps import language_step

SEQUENCES_AT_ONCE = 32


def windows(
    ids: Sequence[int], start_id: int, end_id: int, max_length: int, row_id: str
) -> list[Example]:
    """A document in consecutive windows, so that each of its tokens and its end is scored once."""
    tokens = [start_id, *ids, end_id]
    return [
        Example(
            (tokens[at],),
            (_all_scored(tokens[at + 1 : at + 1 + max_length]),),
            row_id,
        )
        for at in range(0, len(tokens) - 1, max_length)
    ]


def bits_per_byte(
    model: Decoder, rows: Sequence[Row], examples: Sequence[Sequence[Example]], sizes: Sequence[int]
) -> dict[str, Any]:
    """Negative log-probability of held-out text in bits a byte of UTF-8, by source and overall.

    The end token's cost is included; its bytes are none.

    Args:
        model: The model.
        rows: Held-out rows.
        examples: The windows or conversations of each row.
        sizes: UTF-8 bytes of what each row's examples score.
    """
    nats: dict[str, float] = defaultdict(float)
    count: dict[str, dict[str, int]] = defaultdict(lambda: {"rows": 0, "tokens": 0, "bytes": 0})
    owners = [row.source for row, parts in zip(rows, examples, strict=True) for _ in parts]
    flat = [part for parts in examples for part in parts]
    for row, size in zip(rows, sizes, strict=True):
        count[row.source]["rows"] += 1
        count[row.source]["bytes"] += size
    # alike lengths together: padding of the attention grid is all that this decides
    order = sorted(range(len(flat)), key=lambda i: flat[i].length)
    for at in range(0, len(order), SEQUENCES_AT_ONCE):
        chosen = order[at : at + SEQUENCES_AT_ONCE]
        for owner in {owners[i] for i in chosen}:
            part = [flat[i] for i in chosen if owners[i] == owner]
            with torch.no_grad():
                loss = language_step(model, collate(part).to(model.head_weight_VD.device))
            nats[owner] += float(loss.total)
            count[owner]["tokens"] += int(loss.weight)
    found = {source: _figures(nats[source], count[source]) for source in sorted(count)}
    whole = {key: sum(part[key] for part in count.values()) for key in ("rows", "tokens", "bytes")}
    return found | {"overall": _figures(sum(nats.values()), whole)} if found else {}


def _figures(nats: float, count: dict[str, int]) -> dict[str, Any]:
    return {**count, "bits_per_byte": nats / math.log(2) / count["bytes"]}


def _all_scored(ids: Sequence[int]) -> Response:
    return Response(tuple(ids), (True,) * len(ids))
