"""Checks of the loss of stages trained on given rows: spikes, skips, divergence, a floor."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from accord.evaluation.findings.finding import (
    Curves,
    Document,
    Finding,
    above,
    below,
    mean,
    plain,
    span,
    stages_of,
)
from accord.evaluation.findings.rollouts import KINDS
from accord.evaluation.findings.trends import FEWEST, trend

SUPERVISED = ("pretrain", "sft", "reward", "preference")
PAIRED = ("preference", "online")
ACCURACY: Mapping[str, str] = {
    "pretrain": "mean_token_accuracy",
    "sft": "mean_token_accuracy",
    "reward": "accuracy",
    "preference": "rewards/accuracies",
    "online": "rewards/accuracies",
}
"""The share that was right, by kind of stage."""
NEIGHBOURS = 10
"""Points to either side that a point is compared with."""
SPIKE = 10.0
"""Robust standard deviations above its neighbours at which a point is a spike."""
RISE = 0.3
"""Least height of a spike over its neighbours' median, in medians or quarters of the first loss."""
APART, TORN, MANY = "policy/approxkl_avg", 0.5, 10.0
"""How far an update is off its roll-out: half a mean squared log-ratio, the least that counts, and
how many medians."""
SKIPPED_MANY = 0.01
"""Share of steps that were skipped: problem."""
DIVERGED, TURNED = 1.5, 1.2
"""Times the first loss, or times the lowest part of the curve, at which a loss has diverged."""
LOSS_LOW, RIGHT_HIGH = 0.02, 0.99
"""Loss and accuracy beyond which pairs give hardly any gradient."""
SPENT = 0.1
"""Share of a run's learning (of the sum of its learning rates) that must have gone into such pairs:
where a schedule has come down to 0, as it should with the loss, nothing is wasted."""
FELL_LITTLE = 0.01
"""Relative fall of the loss that a run must surely have missed to have learned nothing."""


def spikes(document: Document) -> Iterator[Finding]:
    """Single points far above their neighbours: odd rows, or steps at the edge of stability."""
    for stage, _, curves in stages_of(document, SUPERVISED):
        points = curves.get("loss", [])
        found = [(int(points[i][0]), points[i][1]) for i in _spikes(points)]
        if found:
            step, height = max(found, key=lambda spike: spike[1])
            yield _spiked(
                stage,
                found,
                f"{stage}'s loss has {len(found)} spike{'s' * (len(found) > 1)} more than "
                f"{plain(SPIKE, 0)} robust standard deviations above its neighbours; the highest "
                f"is {plain(height, 3)} at step {step:,}.",
                "lower lr, warm up longer, set max_grad_norm, or look at the rows of these steps",
            )


def torn(document: Document) -> Iterator[Finding]:
    """Single updates that are far off their roll-out.

    A policy's loss lies about 0 whatever happens, and its gradient norm has long tails.
    """
    for stage, _, curves in stages_of(document, KINDS):
        points = curves.get(APART, [])
        found = [(int(points[i][0]), points[i][1]) for i in _spikes(points, TORN, MANY)]
        if found:
            step, height = max(found, key=lambda spike: spike[1])
            yield _spiked(
                stage,
                found,
                f"{stage} has {len(found)} update{'s' * (len(found) > 1)} unlike all others: half "
                f"its mean squared log-ratio was {plain(height, 3)} at step {step:,}, more than "
                f"{plain(MANY, 0)} times its neighbours'.",
                "lower lr, set max_grad_norm or kl_stop, or look at the roll-outs of these steps",
            )


def _spiked(stage: str, found: Sequence[tuple[int, float]], sentence: str, remedy: str) -> Finding:
    step, height = max(found, key=lambda spike: spike[1])
    evidence = {
        "stage": stage,
        "steps": [found[0][0], found[-1][0]],
        "spikes": [at for at, _ in found][:20],
        "highest": height,
        "step": step,
    }
    return Finding("loss_spikes", "warning", sentence, evidence, remedy)


def _spikes(
    points: Sequence[Sequence[float]], floor: float = 0.0, rise: float = RISE
) -> Iterator[int]:
    """Index of each spike above a floor; the first points fall too fast to be judged."""
    values = [value for _, value in points]
    for i in range(NEIGHBOURS, len(values)):
        around = values[i - NEIGHBOURS : i] + values[i + 1 : i + 1 + NEIGHBOURS]
        middle = median(around)
        # near 0, and with few rows a step, losses have long tails
        if values[i] <= max(floor, middle + rise * max(middle, values[0] / 4.0)):
            continue
        spread = 1.4826 * median(abs(value - middle) for value in around)
        z = (values[i] - middle) / max(spread, 1e-9)
        if z > SPIKE:
            yield i


def skipped(document: Document) -> Iterator[Finding]:
    """Steps whose loss or gradient was not finite."""
    for stage in document.get("stages", {}):
        curves = document.get("curves", {}).get(stage, {})
        bad = curves.get("skipped_rows", [])
        if bad:
            steps = max(points[-1][0] for points in curves.values() if points)
            share = len(bad) / max(steps, 1.0)
            # one bad step early in a run is not yet a share of it
            grave = len(bad) > 1 and share > SKIPPED_MANY
            yield Finding(
                "steps_skipped",
                "problem" if grave else "warning",
                f"{stage} skipped {len(bad)} step{'s' * (len(bad) > 1)} whose loss or gradient was "
                f"not finite, the first at step {int(bad[0][0]):,}.",
                {"stage": stage, "count": len(bad), "steps": span(bad), "share": share},
                "look at the rows named in metrics.jsonl, lower lr, or set precision: fp32",
            )


def divergence(document: Document) -> Iterator[Finding]:
    """The training loss ended above where it began, or rose again from its lowest part."""
    for stage, _, curves in stages_of(document, SUPERVISED):
        points = curves.get("loss", [])
        found = trend(points)
        if found is None or points[0][1] <= 0:
            continue
        end, start = mean(points[-max(3, len(points) // 10) :]), points[0][1]
        best = found.means.index(min(found.means))
        low = found.means[best]
        rose = found.rose(best) and found.means[-1] > TURNED * low > 0 and end > TURNED * low
        if end > DIVERGED * start or rose:
            bound = DIVERGED * start if end > DIVERGED * start else TURNED * low
            yield Finding(
                "loss_diverged",
                "problem",
                f"{stage}'s training loss diverged: {plain(start, 3)} at first, {plain(low, 3)} at "
                f"its lowest, {plain(end, 3)} in the last steps.",
                {
                    "stage": stage,
                    "steps": above(points, bound),
                    "first": start,
                    "lowest": low,
                    "last": end,
                },
                "lower lr, warm up longer, or set max_grad_norm",
            )


def saturation(document: Document) -> Iterator[Finding]:
    """Loss near 0 and everything right for long: what is left gives no gradient."""
    for stage, config, curves in stages_of(document, tuple(ACCURACY)):
        kind = document["stages"][stage]["kind"]
        loss, right = curves.get("loss", []), curves.get(ACCURACY[kind], [])
        long = max(FEWEST, len(loss) // 5)
        if len(loss) < long or len(right) < long:
            continue
        low, share = mean(loss[-long:]), mean(right[-long:])
        if not (low < LOSS_LOW and share > RIGHT_HIGH):
            continue
        since = below(loss, LOSS_LOW)
        spent = _spent(curves, min([*since, loss[-long][0]]))
        if spent > SPENT:
            yield Finding(
                "loss_saturated",
                "warning",
                f"{stage}'s loss is used up: {plain(low, 4)} with {share:.1%} right over the last "
                f"{long} logged steps; what is left gives hardly any gradient.",
                {
                    "stage": stage,
                    "steps": since,
                    "spent": spent,
                    "loss": low,
                    "accuracy": share,
                    "beta": config.get("beta"),
                },
                "stop earlier, use harder pairs, raise beta or label_smoothing"
                if kind in PAIRED
                else "stop earlier, train for fewer epochs, or on more rows",
            )


def _spent(curves: Curves, since: float) -> float:
    """Share of the learning rates' sum from a step on; of the steps, where no rate is logged."""
    rates = curves.get("learning_rate") or [(step, 1.0) for step, _ in curves["loss"]]
    whole = sum(rate for _, rate in rates)
    return sum(rate for step, rate in rates if step >= since) / whole if whole else 0.0


def standstill(document: Document) -> Iterator[Finding]:
    """A loss that surely fell by less than the bound: nothing was learned."""
    for stage, config, curves in stages_of(document, ("pretrain", "sft", "reward")):
        points = curves.get("loss", [])
        found = trend(points)
        if found is None or found.means[0] <= 0:
            continue
        start, end = found.means[0], found.means[-1]
        # three standard errors more than was seen would still be too little
        if start - end + 3.0 * found.error < FELL_LITTLE * start and not _risen(
            curves, found.error
        ):
            yield Finding(
                "loss_did_not_fall",
                "warning",
                f"{stage} learned next to nothing: its loss was {plain(start, 4)} at first and "
                f"{plain(end, 4)} in the last steps.",
                {
                    "stage": stage,
                    "steps": span(points),
                    "loss": [start, end],
                    "error": found.error,
                    "lr": config.get("lr"),
                },
                "raise lr, train for more steps, and see that the rows carry loss",
            )


def _risen(curves: Curves, error: float) -> bool:
    """Whether the loss went up instead, which `divergence` tells."""
    points = curves["loss"]
    fifth = max(1, len(points) // 5)
    return mean(points[-fifth:]) - mean(points[:fifth]) > max(3.0 * error, math.ulp(1.0))
