"""What people said of the answers: labels of single ones, margins of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.check.lengths import PERCENTILES
from accord.data.rows import LabelRow, PairRow, Row

FEW = 0.2
"""Share of the rarer label below which there is a warning."""


@dataclass
class Judgements:
    """Labels and margins.

    Args:
        wanted: Answers labelled true.
        unwanted: Answers labelled false.
        pairs: Pairs, with or without a margin.
        margins: The margins.
        not_positive: Pairs whose margin is 0 or says that the rejected side is better.
    """

    wanted: int = 0
    unwanted: int = 0
    pairs: int = 0
    margins: list[float] = field(default_factory=list)
    not_positive: Tally = field(default_factory=Tally)

    @property
    def percentiles(self) -> dict[str, float]:
        """Of the margins; empty where there are none."""
        if not self.margins:
            return {}
        points = np.percentile(self.margins, list(PERCENTILES.values()), method="inverted_cdf")
        return dict(zip(PERCENTILES, points.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "labels": {"wanted": self.wanted, "unwanted": self.unwanted},
            "margins": {"rows": len(self.margins), **self.percentiles},
            "margins_not_positive": self.not_positive.to_json(),
        }


def judgements_of(rows: Sequence[Row]) -> Judgements:
    """Count labels and margins."""
    found = Judgements()
    for row in rows:
        if isinstance(row, LabelRow):
            found.wanted += row.label
            found.unwanted += not row.label
        elif isinstance(row, PairRow):
            found.pairs += 1
            if row.margin is not None:
                found.margins.append(row.margin)
                if row.margin <= 0:
                    found.not_positive.add(row.where)
    return found


def findings(judgements: Judgements) -> list[Finding]:
    """Labels out of balance, margins that are missing or the wrong way round."""
    found: list[Finding] = []
    labelled = judgements.wanted + judgements.unwanted
    rarer = min(judgements.wanted, judgements.unwanted)
    if labelled and not rarer:
        which = "wanted" if judgements.wanted else "unwanted"
        says = f"Every answer ({labelled:,}) is {which}: there is nothing to tell apart."
        found.append(Finding("error", "one_label", says, "give rows of both labels"))
    elif rarer < FEW * labelled:
        which = "wanted" if judgements.wanted == rarer else "unwanted"
        says = f"Only {share(rarer, labelled)} of {counted(labelled, 'answer')} are {which}."
        advice = "weigh them up: desirable_weight, undesirable_weight"
        found.append(Finding("warning", "label_balance", says, advice))
    if 0 < len(judgements.margins) < judgements.pairs:
        lacking = judgements.pairs - len(judgements.margins)
        says = f"{counted(lacking, 'pair')} of {judgements.pairs:,} have no margin."
        advice = "a stage with use_margin refuses them"
        found.append(Finding("warning", "missing_margins", says, advice))
    if judgements.not_positive.count:
        says = f"{counted(judgements.not_positive.count, 'margin')} of 0 or less."
        places = tuple(judgements.not_positive.places)
        advice = "swap the sides, or drop the rows"
        found.append(Finding("warning", "margins_not_positive", says, advice, places))
    return found
