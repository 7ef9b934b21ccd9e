"""How a step's rows are shared: each once, and as many micro-batches on every rank."""

from pathlib import Path
from typing import Any

import pytest
import torch
import train_toy as toy
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.checkpoint.store import Store
from accord.data.packing import Example
from accord.errors import AccordError
from accord.train.parallel import Ranks
from accord.train.splitting import by_count, by_tokens, micro_batch_size

CPU = torch.device("cpu")


def test_batch_size_has_to_be_a_multiple_of_the_ranks() -> None:
    with pytest.raises(AccordError, match="batch_size 8 is not a multiple of the 3 ranks"):
        micro_batch_size(toy.config(), Ranks(0, 3, CPU))
    assert micro_batch_size(toy.config(), Ranks(0, 2, CPU)) == 4


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_row_once_and_every_rank_as_many_batches(world: int, count: int, size: int) -> None:
    rows = list(range(count))
    parts = [by_count(rows, Ranks(rank, world, CPU), size) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    counted = [row for part in parts for batch, counts in part if counts for row in batch]
    assert sorted(counted) == rows
    assert all(0 < len(batch) <= size for part in parts for batch, _ in part)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 3), st.integers(1, 90))
def test_a_budget_of_tokens_is_kept(tokens: list[int], world: int, budget: int) -> None:
    rows = list(range(len(tokens)))
    parts = [by_tokens(rows, tokens, Ranks(rank, world, CPU), budget) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    counted = [row for part in parts for batch, counts in part if counts for row in batch]
    assert sorted(counted) == rows
    for part in parts:
        lengths = [tokens[row] for batch, counts in part if counts for row in batch]
        assert lengths == sorted(lengths, reverse=True)
        for batch, _ in part:
            assert sum(tokens[row] for row in batch) <= budget or len(batch) == 1


class Sized(toy.Rows):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.batches: list[list[int]] = []

    def tokens(self, rows: list[Example]) -> list[int]:
        return [example.tokens for example in rows]

    def collate(self, rows: Any) -> Any:
        self.batches.append([example.tokens for example in rows])
        return super().collate(rows)


def moments(folder: Path, source: toy.Rows, **chosen: object) -> dict[str, torch.Tensor]:
    """Adam's first moments after one step: a tenth of its gradient."""
    config = toy.config(steps=1, max_grad_norm=None, **chosen)
    toy.Trainer(toy.model(), toy.step, source, config, folder).fit()
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    return {n: t for n, t in checkpoint.tensors().items() if n.endswith("/exp_avg")}


@pytest.mark.parametrize("budget", [1, 20, 35, 1000])
def test_a_budget_changes_no_gradient(tmp_path: Path, budget: int) -> None:
    whole = moments(tmp_path / "whole", toy.Rows(1, 8))
    source = Sized(1, 8)
    parts = moments(tmp_path / "parts", source, micro_batch_tokens=budget)
    for name, moment in whole.items():
        assert (moment - parts[name]).abs().max() < 1e-7
    assert all(sum(batch) <= budget or len(batch) == 1 for batch in source.batches)
    assert sum(map(len, source.batches)) == 8


def test_rows_without_a_size_of_their_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no token count") as caught:
        moments(tmp_path, toy.Rows(1, 8), micro_batch_tokens=64)
    assert caught.value.fix == "set micro_batch_size instead"


class Foresighted(toy.Rows):
    """Learns how many tokens each step has before it is run."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.learned: list[tuple[float, float]] = []
        self.beforehand = toy.Rows(*sizes)

    def learn(self, figures: Any) -> None:
        assert torch.is_grad_enabled()
        self.learned.append(figures["_rows"])


@pytest.mark.parametrize("size", [8, 3])
def test_what_is_run_beforehand_is_summed_over_micro_batches(tmp_path: Path, size: int) -> None:
    source = Foresighted(1, 8)
    found = moments(tmp_path / "a", source, micro_batch_size=size)
    assert source.learned == [(8.0, 0.0)]
    plain = moments(tmp_path / "b", toy.Rows(1, 8), micro_batch_size=size)
    assert all(torch.equal(found[name], plain[name]) for name in plain)
