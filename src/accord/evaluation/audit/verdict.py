"""What a model may and may not be used to conclude: sentences that follow from numbers by bounds.

An interval has to lie beyond a bound for the model to be blamed, so that few rows blame nobody; and
within it for the model to be cleared. What is neither says so. A check is one function and one row
of `CHECKS`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accord.evaluation.audit import bounds
from accord.evaluation.audit.phrases import interval, number, percent
from accord.evaluation.audit.robustness import CHECKS as ROBUSTNESS
from accord.evaluation.findings.finding import Finding

Document = Mapping[str, Any]
Check = Callable[[Document], Iterator[Finding]]

ORDER = ("problem", "warning", "info")


def verdict(document: Document) -> list[Finding]:
    """Every sentence that the measures support, problems first."""
    found = [finding for check in CHECKS for finding in check(document)]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def constant(document: Document) -> Iterator[Finding]:
    """Scores that do not vary."""
    if not document["scores"]["spread"]:
        yield Finding(
            "constant",
            "problem",
            "May not be used for anything: every answer gets the same score.",
            {"scores.spread": 0.0},
            "train it anew, with a higher learning rate or for longer",
        )


def ranking(document: Document) -> Iterator[Finding]:
    """Whether held-out pairs come out in order."""
    overall = document["accuracy"]["overall"]
    low, said = overall["ci95"][0], interval(overall, percent)
    evidence = {"accuracy.overall": overall}
    if low <= bounds.COIN:
        yield Finding(
            "no_better_than_a_coin",
            "problem",
            f"May not be used to rank answers: it prefers the better one in {said} of "
            f"{overall['rows']} pairs, which a coin could do.",
            evidence,
            "train it on more pairs, or check that chosen and rejected are not mixed up",
        )
    elif low < bounds.USEFUL:
        yield Finding(
            "weak_ranking",
            "warning",
            f"May not be relied on to rank two single answers: it prefers the better one in {said} "
            "of the pairs. Averages over many prompts may still be compared.",
            evidence,
            "train it on more or cleaner pairs",
        )
    else:
        yield Finding(
            "ranks",
            "info",
            f"May be used to rank answers like these: it prefers the better one in {said} of "
            f"{overall['rows']} pairs.",
            evidence,
        )


def few_rows(document: Document) -> Iterator[Finding]:
    """Too few prompts for anything but gross faults."""
    prompts = document["pairs"]["prompts"]
    if prompts < bounds.FEW_PROMPTS:
        yield Finding(
            "few_prompts",
            "warning",
            f"This audit rests on {prompts} prompts: it finds gross faults alone, and clears the "
            "model of none.",
            {"pairs.prompts": prompts},
            f"audit on {bounds.FEW_PROMPTS} prompts or more",
        )


def simpler_judges(document: Document) -> Iterator[Finding]:
    """Whether counting words, or tokens, does as well."""
    names = {"longer": "preferring the longer answer", "words": "a TF-IDF ridge of these data"}
    for key, name in names.items():
        other = document["accuracy"]["beside"][key]
        if "left_out" in other:
            continue
        low = other["margin_over_ci95"][0]
        theirs = interval({"value": other["accuracy"], "ci95": other["ci95"]}, percent)
        ahead = interval({"value": other["margin_over"], "ci95": other["margin_over_ci95"]}, number)
        evidence = {f"accuracy.beside.{key}": other}
        if low <= 0:
            yield Finding(
                f"not_beyond_{key}",
                "warning",
                f"May not be taken to have understood more than {name}, which is right in "
                f"{theirs} of the pairs (difference {ahead}).",
                evidence,
                "look for what the data give away, with accord data check",
            )
        else:
            yield Finding(
                f"beyond_{key}",
                "info",
                f"It knows more than {name}, which is right in {theirs} of the pairs "
                f"(difference {ahead}).",
                evidence,
            )


def uneven(document: Document) -> Iterator[Finding]:
    """Parts of the data on which it is clearly worse than over all."""
    overall = document["accuracy"]["overall"]
    for group in ("by_source", "by_language"):
        for part in document["accuracy"][group]:
            enough = part["rows"] >= bounds.PART_ROWS and part["ci95"]
            if enough and part["ci95"][1] < overall["ci95"][0]:
                yield Finding(
                    "uneven",
                    "warning",
                    f"May not be used on '{part['name']}' as elsewhere: it is right in "
                    f"{interval(part, percent)} of its {part['rows']} pairs, "
                    f"{interval(overall, percent)} over all.",
                    {f"accuracy.{group}": part},
                    f"train it on more pairs of {part['name']}",
                )


def probabilities(document: Document) -> Iterator[Finding]:
    """Whether σ(difference) may be read as a probability."""
    ece = document["calibration"]["ece"]
    over = document["calibration"]["over_confidence"]
    evidence = {"calibration.ece": ece, "calibration.over_confidence": over}
    if ece["value"] > bounds.CALIBRATED and abs(over["value"]) > bounds.CALIBRATED:
        what = "too sure" if over["value"] > 0 else "not sure enough"
        yield Finding(
            "miscalibrated",
            "warning",
            f"Differences of scores may not be read as probabilities: σ of them is off by "
            f"{number(ece['value'])} on average, the model is {what}.",
            evidence,
            "use the order of scores alone, or divide them by a temperature fitted on other pairs",
        )
    elif ece["ci95"][1] <= bounds.CALIBRATED:
        yield Finding(
            "calibrated",
            "info",
            "Differences of scores may be read as log odds of being preferred: σ of them is off "
            f"by {interval(ece, number)}.",
            evidence,
        )


def truth(document: Document) -> Iterator[Finding]:
    """Agreement with what is known to be true."""
    known = document["truth"]
    if not known:
        return
    figure = known.get("accuracy") or known["correlation"]
    what = "prefers the truly better answer in" if "accuracy" in known else "correlates by"
    level, least = (bounds.COIN, bounds.TRUE) if "accuracy" in known else (0.0, bounds.TRUE_RATING)
    said = interval(figure, percent if "accuracy" in known else number)
    evidence = {"truth": known}
    if figure["ci95"] is None or figure["ci95"][0] <= level:
        sentence = f"May not be used in the truth's stead: it {what} {said}, no better than chance."
        yield Finding("untrue", "problem", sentence, evidence, "train it on labels that are true")
    elif figure["ci95"][0] < least:
        sentence = f"May be used for the truth with care alone: it {what} {said}."
        yield Finding("partly_true", "warning", sentence, evidence, "train it on cleaner labels")
    else:
        sentence = f"May stand for the truth in data like these: it {what} {said}."
        yield Finding("true", "info", sentence, evidence)


CHECKS: tuple[Check, ...] = (
    constant,
    ranking,
    few_rows,
    simpler_judges,
    uneven,
    *ROBUSTNESS,
    probabilities,
    truth,
)
"""In the order in which equally grave sentences stand."""
