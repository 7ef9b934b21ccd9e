"""The one comparison that a reader should remember, said in a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from accord.evaluation.findings.finding import plain


def headline(document: Mapping[str, Any]) -> dict[str, Any]:
    """Every policy against the reference on the first scorer, and which of them stands out.

    That is the one with the highest mean among those in which no finding is a problem. Its numbers
    stand at the top level, those of all policies in `lines`; empty where nothing was compared.

    Args:
        document: With its `findings`.
    """
    scorers = document["protocol"].get("scorers", [])
    rows = [row for row in document["comparisons"] if row["scorer"] == scorers[0]]
    if not rows:
        return {}
    lines = [_line(document, row) for row in rows]
    best = max(lines, key=lambda line: (not line["problems"], line["after"]))
    sentence = _single(best) if len(lines) == 1 else _several(lines, best)
    return {**best, "lines": lines, "sentence": sentence}


def _line(document: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    policies, policy = document["policies"], row["policy"]
    score = policies[policy]["scores"][row["scorer"]]
    troubles = [
        finding["name"]
        for finding in document["findings"]
        if finding["severity"] == "problem" and _whose(finding["evidence"]) == policy
    ]
    return {
        **row,
        "before": policies[row["reference"]]["scores"][row["scorer"]]["mean"],
        "after": score["mean"],
        "after_ci95": score["ci95"],
        "kl": policies[policy]["kl"]["mean"],
        "problems": troubles,
    }


def _whose(evidence: Mapping[str, Any]) -> str | None:
    return evidence.get("policy", evidence.get("stage"))


def _single(line: Mapping[str, Any]) -> str:
    verb = "did not measurably move" if _direction(line) == 0 else "moved"
    return (
        f"{line['policy']} {verb} mean {line['scorer']} from {plain(line['before'])} to "
        f"{plain(line['after'])} at {plain(line['kl'], 1)} nats from {line['reference']}."
    )


def _several(lines: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> str:
    moved = {way: [r["policy"] for r in lines if _direction(r) == way] for way in (1, 0, -1)}
    before, scorer = plain(best["before"]), best["scorer"]
    parts = []
    if moved[1]:
        parts.append(f"{_list(moved[1])} raised mean {scorer} from {before}")
        if best["policy"] in moved[1]:
            parts[0] += _rank(lines, best)
    else:
        parts.append(f"No policy measurably raised mean {scorer} from {before}")
    if moved[-1]:
        parts.append(f"{_list(moved[-1])} lowered it")
    if moved[0] and moved[1]:
        parts.append(f"{_list(moved[0])} did not measurably move it")
    troubled = [line["policy"] for line in lines if line["problems"]]
    ending = f" Problems were found in {_list(troubled)}." if troubled else ""
    return "; ".join(parts) + "." + ending


def _rank(lines: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> str:
    low, high = best["after_ci95"]
    numbers = (
        f"{plain(best['after'])} [{plain(low)}, {plain(high)}] at {plain(best['kl'], 1)} nats "
        f"from {best['reference']}"
    )
    if sum(_direction(line) > 0 for line in lines) == 1:
        return f" to {numbers}"
    above = any(line["after"] > best["after"] for line in lines)
    among = " of those without a problem" if above else ""
    return f", {best['policy']} the highest{among}, to {numbers}"


def _direction(line: Mapping[str, Any]) -> int:
    """1 where the interval of the difference lies above 0, -1 below, 0 where it holds it."""
    low, high = line["ci95"]
    return int(low > 0) - int(high < 0)


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
