"""Numbers as the sentences of an audit write them."""

from collections.abc import Callable, Mapping
from typing import Any

from accord.evaluation.findings.finding import plain


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.0f} %"


def number(value: float) -> str:
    """Two digits after the point, and a true minus."""
    return plain(value)


def interval(estimate: Mapping[str, Any], form: Callable[[float], str]) -> str:
    """A value and its interval, `82 % [78 %, 86 %]`; a dash where it is not defined."""
    if estimate["value"] is None or estimate["ci95"] is None:
        return "–"
    low, high = estimate["ci95"]
    return f"{form(estimate['value'])} [{form(low)}, {form(high)}]"
