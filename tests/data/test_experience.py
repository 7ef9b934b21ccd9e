"""Experience rows: their order of tokens, and the way to a checkpoint and back."""

import numpy as np
import torch

from accord.data.buffer import (
    pack_examples,
    pack_experiences,
    unpack_examples,
    unpack_experiences,
)
from accord.data.experience import Experience, collate_experience
from accord.data.packing import Example, Response


def example(number: int, lengths: tuple[int, ...], masked: int = -1) -> Example:
    responses = tuple(
        Response(tuple(range(10 * i, 10 * i + length)), (i != masked,) * length)
        for i, length in enumerate(lengths)
    )
    return Example((1, 2 + number), responses, f"row {number}", margin=0.5 * number)


def experience(number: int, lengths: tuple[int, ...], masked: int = -1) -> Experience:
    tokens = sum(length for i, length in enumerate(lengths) if i != masked)
    numbers = np.arange(tokens, dtype=np.float32) + 100 * number
    support = tuple(np.arange(1 + t % 3) for t in range(tokens))
    return Experience(
        example(number, lengths, masked), -numbers, numbers, returns=2 * numbers, support=support
    )


def same(one: Experience, other: Experience) -> bool:
    columns = ("old_logps", "advantages", "ref_logps", "returns", "values")
    pairs = [(getattr(one, name), getattr(other, name)) for name in columns]
    return (
        one.example == other.example
        and all((a is None) == (b is None) and (a is None or (a == b).all()) for a, b in pairs)
        and len(one.support or ()) == len(other.support or ())
        and all((a == b).all() for a, b in zip(one.support or (), other.support or (), strict=True))
    )


def test_numbers_stand_beside_the_tokens_that_collate_scores() -> None:
    rows = [experience(0, (2, 3)), experience(1, (1, 4), masked=0)]
    batch = collate_experience(rows)
    assert batch.target_S.tolist() == [0, 1, 10, 11, 12, 10, 11, 12, 13]
    assert batch.old_logps_S is not None and batch.advantages_S is not None
    assert batch.old_logps_S.tolist() == [0, 1, 2, 3, 4, 100, 101, 102, 103]
    assert torch.equal(batch.advantages_S, -batch.old_logps_S)
    assert batch.ref_logps_S is None and batch.values_S is None
    assert batch.sequence_S.tolist() == [0, 0, 1, 1, 1, 3, 3, 3, 3] and batch.sequences == 4


def test_supports_are_ragged_lists_of_each_token() -> None:
    batch = collate_experience([experience(0, (2,)), experience(1, (3,))])
    assert batch.support is not None
    assert batch.support.offsets.tolist() == [0, 1, 3, 4, 6, 9]
    assert batch.support.ids_M.tolist() == [0, 0, 1, 0, 0, 1, 0, 1, 2]
    assert batch.to("cpu").support is not None


def test_a_column_that_one_row_lacks_is_absent() -> None:
    row = experience(0, (2,))
    bare = Experience(row.example, row.advantages)
    batch = collate_experience([row, bare])
    assert batch.returns_S is None and batch.support is None


def test_experiences_go_through_tensors_unchanged() -> None:
    rows = [experience(0, (2, 3)), experience(1, (1, 4), masked=1), experience(2, (5,))]
    back = unpack_experiences(pack_experiences(rows))
    assert all(same(a, b) for a, b in zip(rows, back, strict=True))
    bare = [Experience(row.example, row.advantages) for row in rows]
    again = unpack_experiences(pack_experiences(bare))
    assert all(same(a, b) for a, b in zip(bare, again, strict=True))
    assert unpack_experiences(pack_experiences([])) == []


def test_examples_keep_references_margins_and_row_ids() -> None:
    pair = Example((7,), example(0, (2, 3)).responses, "naïve ☃", (-1.25, -2.0000000001), None)
    both = [pair, example(3, (4, 1), masked=0)]
    assert unpack_examples(pack_examples(both)) == both
