"""A roll-out as named tensors and back, so that a checkpoint can hold one that is half used.

Ragged columns are stored flat with their sizes; texts as UTF-8.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.experience import Experience
from accord.data.packing import Example, Response

COLUMNS = ("old_logps", "advantages", "ref_logps", "returns", "values")


def pack_examples(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Examples as tensors; `unpack_examples` gives equal ones."""
    responses = [response for example in examples for response in example.responses]
    return {
        **_flat("prompt", (example.prompt for example in examples), np.int64),
        **_flat("response", (response.ids for response in responses), np.int64),
        **_flat("mask", (response.mask for response in responses), np.bool_),
        **_flat("reference", (example.reference or () for example in examples), np.float64),
        "responses": torch.tensor([len(example.responses) for example in examples]),
        "facts": _text([[e.row_id, e.margin, e.reference is not None] for e in examples]),
    }


def unpack_examples(tensors: Mapping[str, Tensor]) -> list[Example]:
    """The examples that `pack_examples` packed."""
    ids, masks = _ragged("response", tensors), _ragged("mask", tensors)
    responses = [
        Response(tuple(i.tolist()), tuple(m.tolist())) for i, m in zip(ids, masks, strict=True)
    ]
    found, at = [], 0
    for prompt, count, reference, (row_id, margin, has_reference) in zip(
        _ragged("prompt", tensors),
        tensors["responses"].tolist(),
        _ragged("reference", tensors),
        json.loads(tensors["facts"].numpy().tobytes()),
        strict=True,
    ):
        known = tuple(reference.tolist()) if has_reference else None
        group = tuple(responses[at : at + count])
        found.append(Example(tuple(prompt.tolist()), group, row_id, known, margin))
        at += count
    return found


def pack_experiences(rows: Sequence[Experience]) -> dict[str, Tensor]:
    """Experiences as tensors; `unpack_experiences` gives equal ones."""
    tensors = pack_examples([row.example for row in rows])
    for name in COLUMNS:
        columns = [getattr(row, name) for row in rows]
        if rows and columns[0] is not None:
            tensors |= _flat(name, columns, np.float32)
    if rows and rows[0].support is not None:
        supports = [row.support or () for row in rows]
        tensors |= _flat("support", (ids for row in supports for ids in row), np.int64)
        tensors["supports"] = torch.tensor([len(row) for row in supports])
    return tensors


def unpack_experiences(tensors: Mapping[str, Tensor]) -> list[Experience]:
    """The experiences that `pack_experiences` packed."""
    examples = unpack_examples(tensors)
    columns = {name: _ragged(name, tensors) for name in COLUMNS if f"{name}_sizes" in tensors}
    supports: list[tuple[NDArray[np.int64], ...]] | None = None
    if "supports" in tensors:
        ids = _ragged("support", tensors)
        ends = np.cumsum(tensors["supports"].numpy())
        starts = ends - tensors["supports"].numpy()
        supports = [tuple(ids[a:b]) for a, b in zip(starts, ends, strict=True)]
    return [
        Experience(
            example,
            **{name: column[i] for name, column in columns.items()},
            support=supports[i] if supports is not None else None,
        )
        for i, example in enumerate(examples)
    ]


def _flat(name: str, columns: Iterable[Any], dtype: type) -> dict[str, Tensor]:
    arrays = [np.asarray(column, dtype=dtype) for column in columns]
    flat = np.concatenate(arrays) if arrays else np.zeros(0, dtype)
    sizes = torch.tensor([len(array) for array in arrays], dtype=torch.int64)
    return {name: torch.from_numpy(flat), f"{name}_sizes": sizes}


def _ragged(name: str, tensors: Mapping[str, Tensor]) -> list[NDArray]:
    sizes = tensors[f"{name}_sizes"].numpy()
    return np.split(tensors[name].numpy(), np.cumsum(sizes)[:-1]) if len(sizes) else []


def _text(value: object) -> Tensor:
    return torch.from_numpy(np.frombuffer(json.dumps(value).encode(), np.uint8).copy())
