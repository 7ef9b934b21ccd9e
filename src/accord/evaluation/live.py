"""Findings while a stage trains: the report's own checks on the curves so far, each said once.

A curve that is not finished is judged with more care than one that is: nothing is said of the first
lines, a finding must stand in two checks in a row, and what is a verdict on a whole run waits until
most of it is done. What can only be seen in the first step is said at once.
"""

from collections.abc import Mapping
from typing import Any

from accord.evaluation.document import POINTS, SKIPPED, numbers
from accord.evaluation.findings import findings

FIRST_LINES = 10
"""Lines of the log before which nothing but `AT_ONCE` is said."""
GROWTH = 0.05
"""Share by which the lines must have grown between two checks, so that a long run has few."""
LEAST = 5
"""Fewest lines between two checks."""
AT_ONCE = frozenset({"wrong_reference", "ratio_not_one", "steps_skipped"})
"""Facts of single steps, which no later step changes."""
VERDICTS = frozenset(
    {
        "policy_did_not_move",
        "reward_did_not_rise",
        "loss_did_not_fall",
        "kl_over_constrained",
        "critic_explains_nothing",
        "no_end_token",
    }
)
"""Findings about what has not happened: they wait until most of the run is done."""
LATE = 0.75
"""Share of a run that verdicts wait for."""


class Watch:
    """Reads the lines of a stage's run log as they are written.

    Args:
        kind: The stage's kind.
        config: Its settings, as in `stage.json`.
        name: Its name in the recipe; empty: its kind.
    """

    def __init__(self, kind: str, config: Mapping[str, Any], name: str = "") -> None:
        self._name, self._config = name or kind, dict(config)
        self._stages = {self._name: {"kind": kind, "config": {**config, "kind": kind}}}
        self._curves: dict[str, list[list[float]]] = {}
        self._lines = self._next = 0
        self._stood: frozenset[str] = frozenset()
        self._said: set[str] = set()
        self._broken = False

    def see(self, line: Mapping[str, Any]) -> list[str]:
        """What is new to be said after this line: a sentence a finding, with step and remedy.

        Args:
            line: A line of the run log, which has `step`.
        """
        for metric, value in numbers(line).items():
            points = self._curves.setdefault(metric, [])
            points.append([line["step"], value])
            if len(points) > POINTS:
                # every second, the first and the last kept
                self._curves[metric] = [*points[:-1:2], points[-1]]
        self._lines += 1
        due = self._lines >= self._next or SKIPPED in line or self._share(line) >= 1
        if not due or self._broken:
            return []
        self._next = self._lines + max(LEAST, round(GROWTH * self._lines))
        try:
            return self._check(line)
        except Exception as error:
            self._broken = True
            return [f"the diagnosis stopped at step {line['step']:,}: {error!r}"]

    def _check(self, line: Mapping[str, Any]) -> list[str]:
        document = {"stages": self._stages, "curves": {self._name: self._curves}}
        found = {f["name"]: f for f in findings(document) if f["severity"] != "info"}
        early, late = self._lines < FIRST_LINES, self._share(line) >= LATE
        stands = frozenset(name for name in found if not early and (late or name not in VERDICTS))
        due = [
            name
            for name in found
            if name not in self._said and (name in AT_ONCE or name in stands & self._stood)
        ]
        self._stood = stands
        self._said.update(due)
        return [_sentence(line["step"], found[name]) for name in due]

    def _share(self, line: Mapping[str, Any]) -> float:
        """How much of the run is done."""
        steps, epochs = self._config.get("steps"), self._config.get("epochs")
        if steps:
            return line["step"] / steps
        return line.get("epoch", 0.0) / epochs if epochs else 0.0


def _sentence(step: int, finding: Mapping[str, Any]) -> str:
    remedy = f" Try: {finding['remedy']}." if finding["remedy"] else ""
    return f"{finding['name']} (step {step:,}): {finding['sentence']}{remedy}"
