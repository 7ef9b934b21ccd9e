"""Branches of a prompt attend as they do on the grid, in value and gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.data.batch import TokenBatch
from accord.data.packing import Example, Response, collate
from accord.model import Plan
from accord.model.branches import Branches

HEADS, KV, WIDTH = 4, 2, 8


def group(prompt: int, lengths: tuple[int, ...]) -> Example:
    # the last token of a response is only predicted: one more than is read
    sides = tuple(Response((3,) * (n + 1), (True,) * (n + 1)) for n in lengths)
    return Example((2,) * prompt, sides)


def heads(count: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [
        torch.randn(count, h, WIDTH, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for h in (HEADS, KV, KV)
    ]


def both(batch: TokenBatch, dtype: torch.dtype, how: Any) -> list[Tensor]:
    inputs = heads(batch.ids_N.numel(), dtype)
    out = how(*inputs)
    toward = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
    return [out, *torch.autograd.grad(out, inputs, toward)]


def on_grid(batch: TokenBatch) -> Any:
    plan = Plan(batch.layout)
    plan._branches = None
    return lambda q, k, v: plan(0, q, k, v, None)


def by_branches(batch: TokenBatch) -> Any:
    found = Branches.of(batch.layout)
    assert found is not None
    return found.attend


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st.lists(
            st.tuples(st.integers(1, 6), st.tuples(*[st.integers(1, 7)] * k)),
            min_size=1,
            max_size=4,
        )
    )
)
def test_as_on_the_grid(shapes: list[tuple[int, tuple[int, ...]]]) -> None:
    batch = collate([group(*shape) for shape in shapes])
    expected = both(batch, torch.float64, on_grid(batch))
    found = both(batch, torch.float64, by_branches(batch))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 1e-10


@pytest.mark.parametrize(
    "examples",
    [
        [group(4, (5,)), group(2, (3,))],  # a lone response goes on in its prompt's segment
        [group(4, (5, 5)), group(2, (3, 3, 3))],
        [group(4, (5, 0))],  # nothing of a one-token response is read
    ],
)
def test_unequal_branches_are_left_to_the_grid(examples: list[Example]) -> None:
    assert Branches.of(collate(examples).layout) is None


def test_a_plan_takes_branches_where_they_save_cells() -> None:
    many = collate([group(8, (9,) * 8), group(7, (6,) * 8)])
    plan = Plan.of(many.layout)
    assert plan._branches is not None
    assert plan._branches.suits(plan.cells)
    expected = both(many, torch.bfloat16, on_grid(many))
    found = both(many, torch.bfloat16, lambda q, k, v: plan(0, q, k, v, None))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 0.03 * other.abs().max()
    few = collate([group(30, (2, 2))])
    assert not Branches.of(few.layout).suits(Plan.of(few.layout).cells)  # type: ignore[union-attr]
