"""The collector: roll-outs turned into the rows of optimiser steps, and kept for a resume."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.data.batch import TokenBatch
from accord.errors import AccordError
from accord.stages.drawing import Floats
from accord.stages.rollouts import Group, Rollouts

VOID_ALLOWED = 5
"""Roll-outs in a row that may leave no row to train on before the run is given up."""

Figures = dict[str, tuple[float, float]]
"""Name to (sum, weight)."""


class Algorithm(Protocol):
    """What an algorithm makes of groups."""

    @property
    def attempts(self) -> int:
        """How often groups that teach nothing are replaced."""
        ...

    @property
    def rescores(self) -> bool:
        """Whether log-probabilities by the training path are needed; see `rollouts.Asked`."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's are needed of every token."""
        ...

    def keeps(self, group: Group) -> bool:
        """Whether a group has something to teach."""
        ...

    def rows(self, groups: Sequence[Group]) -> tuple[list[Any], Figures]:
        """Rows to train on, and what is to be logged of the roll-out beside the common figures."""
        ...

    def collate(self, rows: Sequence[Any]) -> TokenBatch:
        """Rows as one batch."""
        ...

    def leaves(self, figures: Mapping[str, tuple[float, float]]) -> bool:
        """Told a step's metrics: whether the rest of the roll-out is to be left."""
        ...

    def pack(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Rows and what else the algorithm remembers, as tensors."""
        ...

    def unpack(self, tensors: Mapping[str, Tensor]) -> list[Any]:
        """Take over what `pack` gave; returns the rows."""
        ...


class RolloutCollector:
    """A `train.Collector`: fills, shuffles and hands out roll-outs.

    Args:
        rollouts: Samples groups.
        algorithm: Makes rows of them.
        steps: Optimiser steps of the run.
        batches: Optimiser batches a pass over a roll-out.
        iterations: Passes over a roll-out.
        seed: Of the shuffles.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        algorithm: Algorithm,
        steps: int,
        batches: int,
        iterations: int,
        seed: int,
    ) -> None:
        self.steps = steps
        self._rollouts, self._algorithm = rollouts, algorithm
        self._batches, self._iterations, self._seed = batches, iterations, seed
        self._rows: list[Any] = []
        self._number = 0
        """Roll-outs collected so far."""
        self._taken = 0
        """Batches of the present one that steps have begun on."""
        self._left = True
        """Whether the rest of the present one is not to be trained on."""

    def fill(self, step: int, weights: Callable[[], Mapping[str, Tensor]]) -> Figures:
        """Collect a roll-out if the last one is used up."""
        figures: Figures = {}
        if self._left or self._taken == len(self._pieces()):
            self._rollouts.update(weights())
            figures = self._collect(step)
            self._taken, self._left = 0, False
        self._taken += 1
        return figures

    def rows(self, step: int) -> list[Any]:
        """The rows of the step that `fill` was last called for."""
        return self._pieces()[self._taken - 1]

    def collate(self, rows: Sequence[Any]) -> TokenBatch:
        """Rows as one batch."""
        return self._algorithm.collate(rows)

    def tokens(self, rows: Sequence[Any]) -> list[int]:
        """Tokens of each row's prompt and responses."""
        return [getattr(row, "example", row).tokens for row in rows]

    def observe(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Let the algorithm adapt, and leave the roll-out if it says so."""
        self._left = self._algorithm.leaves(figures) or self._left

    def state(self) -> dict[str, Tensor]:
        """The roll-out and how much of it is used."""
        place = torch.tensor([self._number, self._taken, int(self._left)])
        return {"place": place} | self._algorithm.pack(self._rows)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self._number, self._taken, left = tensors["place"].tolist()
        self._left = bool(left)
        self._rows = self._algorithm.unpack(tensors)

    def _collect(self, step: int) -> Figures:
        """Roll-outs until one has something to teach; figures are those of the last."""
        for _ in range(VOID_ALLOWED):
            groups = self._collected(self._number)
            self._rows, figures = self._algorithm.rows(groups)
            self._number += 1
            if self._rows:
                return common_figures(groups) | figures
        raise AccordError(
            f"In {VOID_ALLOWED} roll-outs in a row no prompt had completions that differ in "
            "reward: there is nothing to learn from.",
            f"step {step + 1}",
            "raise the temperature or num_generations, or use a reward that tells completions "
            "apart",
        )

    def _collected(self, number: int) -> list[Group]:
        groups, algorithm = self._rollouts.sample(number), self._algorithm
        for attempt in range(1, algorithm.attempts + 1):
            flat = [i for i, group in enumerate(groups) if not algorithm.keeps(group)]
            if not flat:
                break
            fresh = self._rollouts.more(number, attempt, len(flat))
            for place, group in zip(flat, filter(algorithm.keeps, fresh), strict=False):
                groups[place] = group
        return groups

    def _pieces(self) -> list[list[Any]]:
        """The present roll-out's batches, pass after pass, each pass shuffled anew."""
        count = min(self._batches, len(self._rows))
        pieces = []
        for iteration in range(self._iterations):
            generator = np.random.default_rng([self._seed, self._number, iteration])
            order = generator.permutation(len(self._rows))
            pieces += [[self._rows[i] for i in part] for part in np.array_split(order, count)]
        return pieces


def moved_past(figures: Mapping[str, tuple[float, float]], stop: float | None) -> bool:
    """Whether a step's approximate KL from its roll-out is past `kl_stop`."""
    total, weight = figures["policy/approxkl_avg"]
    return stop is not None and weight > 0 and total / weight > stop


def common_figures(groups: Sequence[Group]) -> Figures:
    """What every algorithm logs of a roll-out, under TRL's names where it has them.

    `objective/kl` is Σ(log π - log π_ref) a completion in nats; `unique` the share of different
    texts; `reward_std` the mean over groups of the standard deviation within.
    """
    scores = np.array([group.scores for group in groups])
    lengths = np.array([length for group in groups for length in group.lengths], dtype=np.float64)
    finished = [how for group in groups for how in group.finished]
    texts = [text for group in groups for text in group.texts]
    count = float(scores.size)
    figures: Figures = {
        "reward": (float(scores.sum()), count),
        "completions/mean_length": (float(lengths.sum()), count),
        "completions/min_length": (float(lengths.min()), 1.0),
        "completions/max_length": (float(lengths.max()), 1.0),
        "completions/clipped_ratio": (float(finished.count("length")), count),
        "unique": (float(len(set(texts))), count),
        **_token_figures(groups),
    }
    if scores.shape[1] > 1:
        spread = scores.std(1, ddof=1)
        figures["reward_std"] = (float(spread.sum()), float(len(groups)))
        flat = float((scores.max(1) == scores.min(1)).sum())
        figures["frac_reward_zero_std"] = (flat, float(len(groups)))
    for column, title in (("parts", "rewards"), ("judges", "judges")):
        for label in getattr(groups[0], column):
            values = np.array([getattr(group, column)[label] for group in groups])
            figures[f"{title}/{label}/mean"] = (float(values.sum()), count)
    return figures


def _token_figures(groups: Sequence[Group]) -> Figures:
    """Figures of log-probabilities, over the groups that have them."""
    figures: Figures = {}
    compared = [group for group in groups if group.ref_logps is not None]
    if compared:
        kl = sum(float(_own(g).sum(dtype=np.float64)) - _sum(g.ref_logps) for g in compared)
        figures["objective/kl"] = (kl, float(sum(len(g.scores) for g in compared)))
    scored = [group for group in groups if group.old_logps is not None]
    if scored:
        completions = float(sum(len(group.scores) for group in scored))
        figures["objective/entropy"] = (sum(_sum(g.entropies) for g in scored), completions)
        apart = np.concatenate([np.abs(g.drawn_logps - _own(g)) for g in scored])
        title = "sampling/sampling_logp_difference"
        figures[f"{title}/mean"] = (float(apart.sum(dtype=np.float64)), float(len(apart)))
        figures[f"{title}/max"] = (float(apart.max()), 1.0)
    return figures


def _own(group: Group) -> Floats:
    return group.drawn_logps if group.old_logps is None else group.old_logps


def _sum(column: Floats | None) -> float:
    return 0.0 if column is None else float(column.sum(dtype=np.float64))
