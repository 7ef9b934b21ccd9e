"""The collector: when roll-outs are taken, how rows are handed out, what a resume needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.stages.collector import Figures, RolloutCollector, common_figures
from accord.stages.rollouts import Group


def group(number: int, scores: Sequence[float], texts: Sequence[str] = ()) -> Group:
    lengths = [2 + i for i in range(len(scores))]
    responses = tuple(Response((7,) * n, (True,) * n) for n in lengths)
    column = np.full(sum(lengths), -1.0, np.float32)
    return Group(
        Example((1, number), responses, f"prompt {number}"),
        ("end",) * (len(scores) - 1) + ("length",),
        tuple(texts) or tuple(f"{number}/{i}" for i in range(len(scores))),
        column,
        column - 0.5,
        column + 0.25,
        -column,
        tuple(scores),
        {"vader": tuple(scores)},
        {"length": tuple(float(n) for n in lengths)},
    )


class Sampler:
    """Stands in for Rollouts: numbered prompts, scores that differ unless the prompt is flat."""

    def __init__(self, prompts: int, flat: frozenset[int] = frozenset()) -> None:
        self.prompts, self.flat = prompts, flat
        self.updates: list[Any] = []
        self.asked: list[tuple[int, int, int]] = []

    def update(self, weights: Any) -> None:
        self.updates.append(weights)

    def sample(self, number: int) -> list[Group]:
        self.asked.append((number, 0, self.prompts))
        return [self._group(number * self.prompts + i, i in self.flat) for i in range(self.prompts)]

    def more(self, number: int, attempt: int, count: int) -> list[Group]:
        self.asked.append((number, attempt, count))
        # the first of the new ones teaches nothing either
        return [self._group(1000 * attempt + i, flat=i == 0) for i in range(count)]

    def _group(self, number: int, flat: bool) -> Group:
        return group(number, (1.0, 1.0) if flat else (0.0, 1.0))


class Plain:
    """Rows are the groups' examples."""

    rescores = needs_reference = True

    def __init__(self, attempts: int = 0, stop_at: float | None = None) -> None:
        self.attempts, self.stop_at = attempts, stop_at
        self.remembered = 0.0

    def keeps(self, group: Group) -> bool:
        return max(group.scores) > min(group.scores)

    def rows(self, groups: Sequence[Group]) -> tuple[list[Example], Figures]:
        return [g.example for g in groups if self.keeps(g)], {"mine": (3.0, 2.0)}

    def collate(self, rows: Sequence[Example]) -> Any:
        return collate(rows)

    def leaves(self, figures: Mapping[str, tuple[float, float]]) -> bool:
        total, weight = figures["kl"]
        return self.stop_at is not None and total / weight > self.stop_at

    def pack(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        return {"prompts": torch.tensor([row.prompt for row in rows]).view(-1, 2)}

    def unpack(self, tensors: Mapping[str, Tensor]) -> list[Example]:
        whole = (Response((7, 7), (True, True)),)
        return [Example(tuple(p), whole, f"prompt {p[1]}") for p in tensors["prompts"].tolist()]


def collector(
    sampler: Sampler, algorithm: Plain, batches: int = 2, iterations: int = 1, seed: int = 1
) -> RolloutCollector:
    return RolloutCollector(sampler, algorithm, 100, batches, iterations, seed)  # type: ignore[arg-type]


def names(rows: Sequence[Example]) -> list[str]:
    return [row.row_id for row in rows]


def steps(source: RolloutCollector, first: int, count: int) -> list[list[str]]:
    found = []
    for step in range(first, first + count):
        source.fill(step, lambda step=step: {"step": torch.tensor(step)})
        found.append(names(source.rows(step)))
    return found


def test_a_rollout_is_taken_when_the_last_one_is_used_up() -> None:
    sampler = Sampler(6)
    found = steps(collector(sampler, Plain(), batches=3, iterations=2), 0, 13)
    assert [asked[0] for asked in sampler.asked] == [0, 1, 2]
    assert [int(weights["step"]) for weights in sampler.updates] == [0, 6, 12]
    assert all(len(rows) == 2 for rows in found)
    for first in (0, 3, 6, 9):
        whole = sorted(name for rows in found[first : first + 3] for name in rows)
        start = 6 * (first // 6)
        assert whole == sorted(f"prompt {i}" for i in range(start, start + 6))
    assert found[:3] != found[3:6]


def test_the_same_seed_hands_out_the_same_rows() -> None:
    one, other = (steps(collector(Sampler(8), Plain(), seed=s), 0, 4) for s in (5, 5))
    assert one == other != steps(collector(Sampler(8), Plain(), seed=6), 0, 4)


@pytest.mark.parametrize("cut", range(1, 9))
def test_it_goes_on_from_its_state_at_any_step(cut: int) -> None:
    whole = steps(collector(Sampler(6), Plain(), batches=2, iterations=2), 0, 9)
    first = collector(Sampler(6), Plain(), batches=2, iterations=2)
    before = steps(first, 0, cut)
    second = collector(Sampler(6), Plain(), batches=2, iterations=2)
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    assert before + steps(second, cut, 9 - cut) == whole


def test_figures_are_given_once_a_rollout() -> None:
    source = collector(Sampler(4), Plain(), batches=2)
    first = source.fill(0, dict)
    assert first["mine"] == (3.0, 2.0) and "reward" in first
    assert source.fill(1, dict) == {}


def test_an_algorithm_may_leave_the_rest_of_a_rollout() -> None:
    sampler = Sampler(4)
    source = collector(sampler, Plain(stop_at=0.1), batches=2, iterations=4)
    source.fill(0, dict)
    source.observe({"kl": (0.4, 10.0)})
    source.fill(1, dict)
    assert len(sampler.asked) == 1
    source.observe({"kl": (4.0, 10.0)})
    again = collector(sampler, Plain(stop_at=0.1), batches=2, iterations=4)
    again.load(source.state())
    for resumed in (source, again):
        before = len(sampler.asked)
        resumed.fill(2, dict)
        assert len(sampler.asked) == before + 1


def test_groups_that_teach_nothing_are_replaced_by_later_ones() -> None:
    sampler = Sampler(5, flat=frozenset({1, 3}))
    source = collector(sampler, Plain(attempts=3), batches=1)
    source.fill(0, dict)
    # two flat ones; each try gives one fewer good group than it asks for, the last one none
    assert sampler.asked == [(0, 0, 5), (0, 1, 2), (0, 2, 1), (0, 3, 1)]
    assert sorted(names(source.rows(0))) == [f"prompt {i}" for i in (0, 1001, 2, 4)]


def test_rollouts_without_any_row_are_passed_over_and_then_an_error() -> None:
    sampler = Sampler(2, flat=frozenset({0, 1}))
    with pytest.raises(AccordError, match="nothing to learn"):
        collector(sampler, Plain()).fill(6, dict)
    assert [asked[0] for asked in sampler.asked] == [0, 1, 2, 3, 4]


def test_fewer_rows_than_batches_make_fewer_batches() -> None:
    sampler = Sampler(4, flat=frozenset({0, 1, 2}))
    source = collector(sampler, Plain(), batches=3)
    assert steps(source, 0, 2) == [["prompt 3"], ["prompt 7"]]
    assert len(sampler.asked) == 2


def test_common_figures_by_hand() -> None:
    found = common_figures([group(0, (1.0, 3.0), ("a", "a")), group(1, (2.0, 2.0), ("b", "a"))])
    mean = {name: total / weight for name, (total, weight) in found.items()}
    assert mean["reward"] == 2.0 and mean["rewards/vader/mean"] == 2.0
    assert mean["reward_std"] == pytest.approx(np.sqrt(2) / 2)
    assert mean["frac_reward_zero_std"] == 0.5
    # each group has 2 + 3 tokens of which each is half a nat from the reference
    assert mean["objective/kl"] == pytest.approx(1.25)
    assert mean["objective/entropy"] == pytest.approx(2.5)
    assert mean["completions/mean_length"] == 2.5
    assert (mean["completions/min_length"], mean["completions/max_length"]) == (2.0, 3.0)
    assert mean["completions/clipped_ratio"] == 0.5
    assert mean["unique"] == 0.5
    assert mean["judges/length/mean"] == 2.5
    assert mean["sampling/sampling_logp_difference/mean"] == pytest.approx(0.25)
