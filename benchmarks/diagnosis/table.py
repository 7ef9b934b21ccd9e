"""The benchmark's table, from its results alone."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import NormalDist, median
from typing import Any

from diagnosis.cell import Cell, Outcome

BEGIN, END = "<!-- diagnosis table -->", "<!-- end of diagnosis table -->"
RECALL, ALARMS = 0.95, 0.02
"""What is aimed at: recall of each fault, false alarms a healthy run."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "ended": (0.90, math.inf),
    "distinct_2": (0.80, math.inf),
    "unique": (0.80, math.inf),
    "length": (0.70, 1.30),
    "kl_per_token": (0.0, 0.40),
    "mood": (-0.05, math.inf),
    "form": (-0.15, math.inf),
    "accuracy": (0.60, 1.0),
    "skipped": (0.0, 0.0),
}
"""What a healthy run's policy may be, measured by its evaluation: shares of the reference's value,
differences for mood and form, nats for the KL; a reward model's held-out accuracy."""


def run_json(cell: Cell, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A fault's, or a healthy setting's, runs; in words only what was meant, or a false alarm."""
    kept = [{**o, "sentences": _told(o["sentences"], cell.expected)} for o in outcomes]
    return {"expected": sorted(cell.expected), "onset": cell.onset, "outcomes": kept}


def _told(sentences: Mapping[str, str], expected: Collection[str]) -> dict[str, str]:
    return {name: said for name, said in sentences.items() if name in expected or not expected}


def written(result: Mapping[str, Any]) -> str:
    """The results as the text of a file."""
    return json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    """Four figures of every number that is not whole."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(held) for key, held in value.items()}
    return [_rounded(held) for held in value] if isinstance(value, list) else value


def interval(hits: int, runs: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson, JASA 1927)."""
    if not runs:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, shrink = hits / runs, 1 + z * z / runs
    middle = (share + z * z / (2 * runs)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, middle - half), min(1.0, middle + half)


def found(outcome: Mapping[str, Any]) -> set[str]:
    """Names of all findings of a run."""
    return {*outcome["live"], *outcome["report"]}


def broken(outcome: Mapping[str, Any]) -> list[str]:
    """The bounds that a run is outside of; a run that ended early is outside of all."""
    if outcome["ended"]:
        return ["ended early"]
    truth = outcome["truth"]
    return [
        name
        for name, (low, high) in BOUNDS.items()
        if name in truth and not low <= truth[name] <= high
    ]


def line(outcome: Outcome) -> str:
    """A run as it ends."""
    report = sorted({*outcome.report} - {*outcome.live})
    live = ", ".join(f"{name} @{step}" for name, step in outcome.live.items())
    ended = f"  ENDED: {outcome.ended.splitlines()[-1]}" if outcome.ended else ""
    said = f"live: {live or '-'}; report: {', '.join(report) or '-'}"
    return f"{outcome.name} [{outcome.seed}] {outcome.seconds:.1f} s  {said}{ended}"


def page(result: Mapping[str, Any]) -> list[str]:
    """The tables and what they add up to, as Markdown lines."""
    faults = {n: run for n, run in result["runs"].items() if run["expected"]}
    healthy = {n: run for n, run in result["runs"].items() if not run["expected"]}
    lines = []
    if faults:
        lines += [*_faults(faults), ""]
    if healthy:
        lines += [*_healthy(healthy), ""]
    measured = result["measured"]
    lines.append(
        f"Measured {measured['date'][:10]} in {measured['minutes']} minutes by "
        f"{measured['workers']} processes of one thread on {measured['environment']['machine']}; "
        f"revision `{measured['revision']}`."
    )
    return lines


def _faults(faults: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "| planted | found | 95 % interval | meant finding | delay in steps | also said |",
        "| --- | --: | --: | --- | --: | --- |",
    ]
    hits = runs = 0
    missed = []
    for name, run in faults.items():
        meant, outcomes = set(run["expected"]), run["outcomes"]
        caught = sum(bool(meant & found(o)) for o in outcomes)
        hits, runs = hits + caught, runs + len(outcomes)
        if caught < RECALL * len(outcomes):
            missed.append(name)
        others = _counted(found(o) - meant for o in outcomes)
        low, high = interval(caught, len(outcomes))
        lines.append(
            f"| {name} | {caught}/{len(outcomes)} | {low:.2f} to {high:.2f} | "
            f"{_names(meant)} | {_delay(run)} | {others} |"
        )
    low, high = interval(hits, runs)
    below = ", ".join(missed)
    lines += [
        "",
        f"Recall over all planted runs: {hits}/{runs} = {hits / runs:.3f} "
        f"[{low:.3f}, {high:.3f}] (aim {RECALL}). "
        + (f"Below the aim: {below}." if missed else "No fault is below the aim."),
    ]
    return lines


def _delay(run: Mapping[str, Any]) -> str:
    """Median of the steps from the fault's onset to the first line that meant it."""
    meant = set(run["expected"])
    steps = [
        min(step for name, step in o["live"].items() if name in meant) - run["onset"]
        for o in run["outcomes"]
        if meant & o["live"].keys()
    ]
    if not steps:
        return "report only"
    return f"{median(steps):.0f} of {run['outcomes'][0]['steps']}"


def _healthy(healthy: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "| healthy run | runs | outside the bounds | false alarms | which |",
        "| --- | --: | --: | --: | --- |",
    ]
    alarms = alarmed = sound = 0
    for name, run in healthy.items():
        inside = [o for o in run["outcomes"] if not broken(o)]
        raised = [found(o) for o in inside]
        sound, alarms = sound + len(inside), alarms + sum(map(len, raised))
        alarmed += sum(map(bool, raised))
        outside = _counted(broken(o) for o in run["outcomes"])
        left = len(run["outcomes"]) - len(inside)
        lines.append(
            f"| {name} | {len(run['outcomes'])} | {left}{f' ({outside})' if left else ''} | "
            f"{sum(map(len, raised))} | {_counted(raised)} |"
        )
    low, high = interval(alarmed, sound)
    rate = alarms / sound if sound else 0.0
    lines += [
        "",
        f"{alarms} false alarms in {sound} healthy runs = {rate:.3f} a run (aim {ALARMS}); "
        f"{alarmed} of {sound} runs had any [{low:.3f}, {high:.3f}].",
    ]
    return lines


def _counted(groups: Any) -> str:
    counts: dict[str, int] = {}
    for group in groups:
        for name in group:
            counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count}" for name, count in ranked)


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def inserted(text: str, result: Mapping[str, Any]) -> str:
    """A page with the tables between its marks."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return "\n".join([f"{head}{BEGIN}", "", *page(result), "", f"{END}{tail}"])
