"""Batches of whole responses: the last token is read, groups make their pairs."""

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.packing import Example, Response
from accord.data.scoring import Rated, Scale, collate_groups, collate_scored

ids = st.lists(st.integers(0, 50), min_size=1, max_size=5).map(tuple)
examples = st.builds(
    lambda prompt, responses: Example(
        prompt, tuple(Response(r, (True,) * len(r)) for r in responses)
    ),
    ids,
    st.lists(st.one_of(ids, st.just(())), min_size=1, max_size=3),
)


def example(prompt: tuple[int, ...], *responses: tuple[int, ...], **more: float) -> Example:
    return Example(prompt, tuple(Response(r, (True,) * len(r)) for r in responses), **more)


@settings(deadline=None, max_examples=60)
@given(st.lists(examples, min_size=1, max_size=4), st.sampled_from(["last", "mean"]))
def test_every_token_of_every_response_is_read(batch: list[Example], pooling) -> None:
    made = collate_scored(batch, pooling)
    wanted = [(e.prompt, r.ids) for e in batch for r in e.responses]
    assert made.sequences == len(wanted) == len(made.last_R)
    assert made.length_R.tolist() == [len(response) for _, response in wanted]
    for r, (prompt, response) in enumerate(wanted):
        whole, last = (*prompt, *response), int(made.last_R[r])
        assert made.ids_N[last] == whole[-1]
        assert made.position_N[last] == len(whole) - 1
        own = made.sequence_N == r
        mine = whole if pooling == "mean" else None
        if mine is not None:
            assert tuple(made.ids_N[own].tolist()) == mine
            assert made.position_N[own].tolist() == list(range(len(mine)))
    if pooling == "last":
        # a prompt is read once, however many responses share it
        total = sum(len(e.prompt) + sum(len(r.ids) for r in e.responses) for e in batch)
        assert len(made.ids_N) == total
    grid = made.layout.grid_GT
    assert sorted(grid[grid >= 0].tolist()) == list(range(len(made.ids_N)))


def test_a_pair_by_hand() -> None:
    batch = [example((1, 2), (3, 4), (5,), margin=2.0), example((6,), (7,), (8, 9), margin=0.5)]
    made = collate_scored(batch, "last")
    assert made.ids_N.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert made.position_N.tolist() == [0, 1, 2, 3, 2, 0, 1, 1, 2]
    assert made.last_R.tolist() == [3, 4, 6, 8]
    assert made.sequence_N.tolist() == [-1, -1, 0, 0, 1, -1, 2, 3, 3]
    assert made.chosen_P.tolist() == [0, 2]
    assert made.rejected_P.tolist() == [1, 3]
    assert made.margin_P is not None and made.margin_P.tolist() == [2.0, 0.5]
    apart = collate_scored(batch, "mean")
    assert apart.ids_N.tolist() == [1, 2, 3, 4, 1, 2, 5, 6, 7, 6, 8, 9]
    assert apart.sequence_N.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert apart.last_R.tolist() == [3, 6, 8, 11]


def test_lone_responses_are_no_pairs_and_margins_are_all_or_none() -> None:
    made = collate_scored([example((1,), (2,)), example((1,), (2,), (3,), margin=1.0)], "last")
    assert made.chosen_P.tolist() == [1] and made.rejected_P.tolist() == [2]
    assert collate_scored([example((1,), (2,))], "last").margin_P is None
    some = [example((1,), (2,), (3,), margin=1.0), example((1,), (2,), (4,))]
    assert collate_scored(some, "last").margin_P is None


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 5).flatmap(
        lambda size: st.lists(
            st.lists(st.integers(-8, 8), min_size=size, max_size=size), min_size=1, max_size=4
        )
    ),
    st.sampled_from([0.0, 0.5, 1.5]),
)
def test_all_pairs_of_a_group_and_of_no_other(levels: list[list[int]], gap: float) -> None:
    groups = [
        [Rated(example((1,), (g, t)), level / 10) for t, level in enumerate(group)]
        for g, group in enumerate(levels)
    ]
    scale = Scale.of([level / 10 for group in levels for level in group])
    made = collate_groups(groups, "last", gap, scale)
    size = len(levels[0])
    wanted = {
        (g * size + one, g * size + other, g)
        for g, group in enumerate(levels)
        for one, other in itertools.permutations(range(size), 2)
        if group[one] > group[other] and group[one] - group[other] >= 10 * gap
    }
    pairs = zip(
        made.chosen_P.tolist(), made.rejected_P.tolist(), made.group_P.tolist(), strict=True
    )
    found = list(pairs)
    assert len(found) == len(set(found)) and set(found) == wanted
    assert made.group_P.tolist() == sorted(made.group_P.tolist())
    assert made.groups == len(groups)
    assert made.rating_R is not None and made.sequences == len(made.rating_R)


def test_ratings_are_standardised() -> None:
    ratings = [1.0, 2.0, 6.0]
    scale = Scale.of(ratings)
    values = np.array([scale(rating) for rating in ratings])
    assert abs(values.mean()) < 1e-12 and abs(values.std() - 1) < 1e-12
    assert Scale.of([3.0, 3.0])(3.0) == 0.0


def test_a_batch_moves_as_a_whole() -> None:
    made = collate_scored([example((1,), (2,), (3,), margin=1.0)], "last").to("meta")
    tensors = [value for value in vars(made).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 9
    assert all(tensor.is_meta for tensor in (*tensors, made.layout.grid_GT))
