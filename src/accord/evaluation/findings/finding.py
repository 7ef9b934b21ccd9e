"""What a finding is, and how checks read a result document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "problem"]
Document = Mapping[str, Any]
Curves = Mapping[str, Sequence[Sequence[float]]]

SOFTER: Mapping[str, str] = {
    "preference": "raise beta",
    "online": "raise beta",
    "ppo": "raise kl_coef or set kl_target",
    "grpo": "raise beta",
}
"""What strengthens the pull to the reference, by kind of stage."""


@dataclass(frozen=True)
class Finding:
    """One statement about a run.

    Args:
        name: Stable identifier.
        severity: info, warning or problem.
        sentence: The statement, with its numbers, in plain words.
        evidence: The numbers it rests on; `policy` or `stage` says whose.
        remedy: What to do about it; empty where nothing is wrong.
    """

    name: str
    severity: Severity
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


Check = Callable[[Document], Iterator[Finding]]


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus included."""
    return f"{value:+.{digits}f}".replace("-", "−")


def plain(value: float, digits: int = 2) -> str:
    """A number with a true minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def against_reference(
    document: Document,
) -> Iterator[tuple[str, Mapping[str, float], Mapping[str, float]]]:
    """Each policy's statistics beside the reference's."""
    reference = document.get("protocol", {}).get("reference")
    policies = document.get("policies", {})
    if reference not in policies:
        return
    for name, policy in policies.items():
        if name != reference:
            yield name, policy["statistics"], policies[reference]["statistics"]


def stages_of(
    document: Document, kinds: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any], Curves]]:
    """Stages of these kinds: name, settings, curves."""
    for name, stage in document.get("stages", {}).items():
        if stage.get("kind") in kinds:
            yield name, stage.get("config", {}), document.get("curves", {}).get(name, {})


def kind_of(document: Document, policy: str) -> str:
    """The kind of stage that made a policy; pairs are taken for granted where it is not known."""
    kind = document.get("stages", {}).get(policy, {}).get("kind")
    return kind if kind in SOFTER else "preference"


def measured_kl(document: Document, policy: str) -> float | None:
    """The evaluation's KL of a policy from the reference, in nats a completion."""
    return document.get("policies", {}).get(policy, {}).get("kl", {}).get("mean")


def last(curves: Curves, metric: str) -> float | None:
    """Where a metric ended: its last held-out value, else the mean of the last tenth of steps."""
    held_out = curves.get(f"eval_{metric}", [])
    if held_out:
        return held_out[-1][1]
    points = curves.get(metric, [])
    return mean(points[-max(1, len(points) // 10) :]) if points else None


def first(curves: Curves, metric: str) -> float | None:
    """Where a metric began: the mean of the first tenth of steps."""
    points = curves.get(metric, [])
    return mean(points[: max(1, len(points) // 10)]) if points else None


def course(curves: Curves, metric: str) -> Sequence[Sequence[float]]:
    """The points that `last` reads: those on held-out rows where there are any."""
    return curves.get(f"eval_{metric}") or curves.get(metric, [])


def span(points: Sequence[Sequence[float]]) -> list[int]:
    """First and last step of a curve; empty without points."""
    return [int(points[0][0]), int(points[-1][0])] if points else []


def above(points: Sequence[Sequence[float]], bound: float) -> list[int]:
    """First and last step of the time at the end in which a curve was above a bound.

    The curve is smoothed by the mean over a tenth of its points, so that one point of noise does
    not end that time. Where only the last point's own mean is above, both steps are the last.
    """
    width, start = max(1, len(points) // 10), len(points) - 1
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    while start > 0:
        low = max(0, start - width)
        if (sums[start] - sums[low]) / (start - low) <= bound:
            break
        start -= 1
    return span(points[start:])


def below(points: Sequence[Sequence[float]], bound: float) -> list[int]:
    """As `above`, of the time in which a curve was below a bound."""
    return above([(step, -value) for step, value in points], -bound)


def mean(points: Sequence[Sequence[float]]) -> float:
    """Mean value of [step, value] points."""
    return sum(value for _, value in points) / len(points)
