"""What a loss of single answers (KTO) learns from: labelled rows, and answers of other prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from accord.config.preference import PreferenceStage
from accord.data.account import Account
from accord.data.load import Loaded
from accord.data.packing import Example, fit
from accord.data.rows import LabelRow, PairRow, Row
from accord.errors import AccordError
from accord.objectives.labels import margins
from accord.stages.context import StageContext
from accord.stages.records import stage_rows
from accord.stages.sources import ExampleSource, HeldoutExamples
from accord.train.metrics import means

TAKEN_APART = "pairs taken apart, each a wanted and an unwanted answer"
SEEN = "answers of pairs that stood in an earlier pair, left out"


def load_labels(config: PreferenceStage, context: StageContext, account: Account) -> Loaded:
    """Labelled answers to train on and held out; a pair is one that is wanted and one that isn't.

    Raises:
        AccordError: All answers to train on have the same label.
    """
    rows = stage_rows(config, "label", context, account)
    train, heldout = _apart(rows.train, account), _apart(rows.heldout, Account())
    if len({row.label for row in train}) == 1:
        which = "wanted" if train[0].label else "unwanted"
        raise AccordError(
            f"All {len(train)} answers are {which}: there is nothing to tell apart.",
            f"stages.{context.name}.data",
            "give rows of both labels",
        )
    return Loaded(train, heldout)


def _apart(rows: Sequence[Row], account: Account) -> list[LabelRow]:
    found: list[LabelRow] = []
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, LabelRow):
            found.append(row)
        elif isinstance(row, PairRow):
            account.noted(row.source, TAKEN_APART)
            for completion, label in ((row.chosen, True), (row.rejected, False)):
                single = LabelRow(row.prompt, completion, label)
                if single.id in seen:  # one answer of a prompt is often in several pairs
                    account.noted(row.source, SEEN)
                    continue
                seen.add(single.id)
                found.append(
                    replace(
                        single,
                        where=row.where,
                        source=row.source,
                        group=row.group,
                        language=row.language,
                    )
                )
    return found


def mismatched(examples: Sequence[Example], max_length: int, seed: int) -> list[Example]:
    """Each prompt with the answer to another: what the KL of KTO is estimated on.

    The answers go round a random cycle, so that each is used once. The pairing is a function of the
    seed, not of batches: a step's estimate does not depend on what else is in its batch, nor on how
    the batch is split (the paper pairs within a batch; arXiv 2402.01306 section 4.1).
    """
    cycle = np.random.default_rng([seed, len(examples)]).permutation(len(examples))
    follows = dict(zip(cycle.tolist(), np.roll(cycle, -1).tolist(), strict=True))
    found: list[Example] = []
    for place, example in enumerate(examples):
        other = examples[follows[place]]
        single = replace(example, responses=other.responses, reference=None, label=None)
        # where no token of a stranger's answer fits or is scored, the prompt's own stands in
        found.append(fit(single, max_length) or replace(example, reference=None, label=None))
    return found


@dataclass(frozen=True)
class HeldoutLabels(HeldoutExamples):
    """Held-out labelled answers; their margins are a difference of two means."""

    def figures(self, totals: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """`rewards/margins`, overall and by group."""
        return margins(means(totals))


Inner = TypeVar("Inner", ExampleSource, HeldoutLabels)


@dataclass
class Baseline:
    """z0 of a step: the KL to the reference on mismatched answers, in nats, at least 0."""

    kl: float = 0.0


class LabelSource:
    """Labelled answers, whose step is told the mean KL on as many mismatched ones beforehand.

    Args:
        inner: The answers.
        beforehand: Mismatched answers, in the same order.
        baseline: Shared with the step.
    """

    def __init__(self, inner: Inner, beforehand: Inner, baseline: Baseline) -> None:
        self._inner: Any = inner
        self.beforehand, self._baseline = beforehand, baseline
        self.steps = inner.steps
        self.rows, self.collate, self.tokens = inner.rows, inner.collate, inner.tokens

    @property
    def order(self) -> Any:
        """The order of its rows."""
        return self._inner.order

    def figures(self, totals: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """As the answers'."""
        return self._inner.figures(totals)

    def learn(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Take the step's KL."""
        total, weight = figures["kl"]
        self._baseline.kl = max(0.0, total / weight)
