"""A finding: one thing about the data that a reader should know, how grave it is, and where."""

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

PLACES = 3
"""Examples that are named of each kind of finding."""


@dataclass
class Tally:
    """How many rows something is true of, and where the first few of them stand."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """One more."""
        self.count += 1
        if len(self.places) < PLACES:
            self.places.append(place)

    def to_json(self) -> dict[str, Any]:
        """`{count, places}`."""
        return {"count": self.count, "places": self.places}


@dataclass(frozen=True)
class Finding:
    """One judgement.

    Args:
        severity: `error`: rows cannot be used; `warning`: training would go on and suffer;
            `note`: worth knowing.
        name: Its name in the JSON form.
        says: One sentence with its numbers.
        advice: What to do, or empty.
        places: `file:line` of the first rows.
    """

    severity: Severity
    name: str
    says: str
    advice: str = ""
    places: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "severity": self.severity,
            "name": self.name,
            "says": self.says,
            "advice": self.advice,
            "places": list(self.places),
        }


def counted(count: int, noun: str) -> str:
    """A number and its noun: `1 row`, `1,204 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def share(part: int, whole: int) -> str:
    """A percentage: `3.2 %`; a small one isn't rounded to none, nor a large one to all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %" if part == whole or percent < 99.95 else "> 99.9 %"
