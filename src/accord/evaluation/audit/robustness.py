"""The part of a verdict that is about what the score reacts to, and what it must not react to."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from accord.evaluation.audit import bounds
from accord.evaluation.audit.accuracy import LONGER, SHORTER
from accord.evaluation.audit.phrases import interval, number, percent
from accord.evaluation.findings.finding import Finding

Document = Mapping[str, Any]

USES = {
    "truncated": "tell a finished answer from a half",
    "shuffled": "tell a text from its words in any order",
    "repeated": "penalise saying everything twice",
    "emptied": "tell an answer from none",
    "other_answer": "judge whether an answer fits its prompt",
    "other_prompt": "tell to which prompt an answer belongs",
    "prompt_copied": "tell an answer from an echo of the prompt",
}
"""What a judge may be used for that notices a probe."""
NEGLIGIBLE = 0.1
"""Length correlation within pairs that an interval within it rules out as a bias."""


def length_hacker(document: Document) -> Iterator[Finding]:
    """The longer answer wins, whichever is the better."""
    tie = document["dependence"]["length"]["part"]
    parts = {part["name"]: part for part in document["accuracy"]["by_longer"]}
    shorter = parts.get(SHORTER)
    evidence = {"dependence.length": document["dependence"]["length"]}
    if tie["ci95"] is None:
        return
    said = f"{interval(tie, number)} with length at equal preference"
    beaten = shorter is not None and shorter["ci95"] and shorter["ci95"][1] < bounds.COIN
    if tie["ci95"][0] > bounds.WITHIN or (beaten and tie["ci95"][0] > 0):
        right = (
            f", and is right in {interval(shorter, percent)} of the pairs whose better answer is "
            "the shorter"
            if shorter and shorter["ci95"]
            else ""
        )
        yield Finding(
            "length_hacker",
            "problem" if beaten else "warning",
            f"May not be used to compare answers of different lengths, nor be trained against "
            f"without a length penalty: its score goes by {said}{right}.",
            evidence | {"accuracy.by_longer": shorter},
            "pair answers of like lengths (pairs.length_ratio), or take off a length reward",
        )
    elif tie["ci95"][1] < -bounds.WITHIN:
        yield Finding(
            "brevity_hacker",
            "warning",
            f"May not be trained against without a reward for length: its score goes by {said}.",
            evidence,
            "pair answers of like lengths (pairs.length_ratio)",
        )
    elif max(abs(end) for end in tie["ci95"]) <= NEGLIGIBLE and not any(
        length_confounded(document)
    ):
        yield Finding(
            "length_blind",
            "info",
            f"May be used to compare answers of different lengths: its score goes by {said}.",
            evidence,
        )


def length_confounded(document: Document) -> Iterator[Finding]:
    """Data in which the better answer is nearly always the longer, or nearly always the shorter."""
    rows = {part["name"]: part["rows"] for part in document["accuracy"]["by_longer"]}
    longer, shorter = rows.get(LONGER, 0), rows.get(SHORTER, 0)
    if longer + shorter and min(longer, shorter) < bounds.RARER * (longer + shorter):
        which = "longer" if longer > shorter else "shorter"
        yield Finding(
            "length_confounded",
            "warning",
            f"These data cannot show whether it judges by length: the better answer is the {which} "
            f"in {max(longer, shorter)} of {longer + shorter} pairs.",
            {"accuracy.by_longer": document["accuracy"]["by_longer"]},
            "audit it on pairs whose better answer is as often the longer as the shorter",
        )


def repetition(document: Document) -> Iterator[Finding]:
    """Repetition that is rewarded."""
    tie = document["dependence"]["repetition"]["part"]
    if tie["ci95"] is not None and tie["ci95"][0] > bounds.WITHIN:
        yield Finding(
            "rewards_repetition",
            "warning",
            "May not be trained against alone: at equal preference its score goes by "
            f"{interval(tie, number)} with repeated word triples.",
            {"dependence.repetition": document["dependence"]["repetition"]},
            "add a penalty for repetition to the reward",
        )


def batch_dependent(document: Document) -> Iterator[Finding]:
    """Scores that depend on what else is in the batch."""
    found = document["batching"]
    moved = {name: found[name] for name in ("alone", "padding", "order")}
    worst = max(moved, key=lambda name: moved[name])
    evidence = {"batching": found}
    if moved[worst] > found["tolerance"]:
        names = ", ".join(name for name, value in moved.items() if value > found["tolerance"])
        pad = " Pad and end token are one." if found["pad_is_end"] else ""
        yield Finding(
            "batch_dependent",
            "problem",
            f"May not be used at all: a score changes by up to {moved[worst]:.2g} with the batch "
            f"it is in ({names}), where rounding explains {found['tolerance']:.1g}.{pad}",
            evidence,
            "read the score at the last real token, and mask padding out of attention and mean",
        )
    else:
        pad = ", though pad and end token are one" if found["pad_is_end"] else ""
        yield Finding(
            "batch_invariant",
            "info",
            "Scores of different batches may be compared: company, padding and order change them "
            f"by at most {moved[worst]:.1g}{pad}.",
            evidence,
        )


def blank_sensitive(document: Document) -> Iterator[Finding]:
    """White space that turns pairs round."""
    for name, found in document["white_space"].items():
        if "left_out" not in found and found["ci95"][0] > bounds.FLIPPED:
            yield Finding(
                "blank_sensitive",
                "warning",
                f"May not be used on answers whose white space differs: {name.replace('_', ' ')} "
                f"turns {interval(found, percent)} of the pairs round.",
                {f"white_space.{name}": found},
                "strip answers before they are scored, in training and in use",
            )


def probes(document: Document) -> Iterator[Finding]:
    """Damage that is not noticed, or not always."""
    for name, found in _probed(document):
        low, high = found["ci95"]
        said = f"an answer {found['says']} scores lower in {interval(found, percent)} of cases"
        evidence = {f"sensitivity.{name}": found}
        remedy = "add such answers to the rejected side of its training pairs"
        if high < bounds.BLIND:
            sentence = f"May not be used to {USES[name]}: {said}."
            yield Finding(f"blind_to_{name}", "problem", sentence, evidence, remedy)
        elif low < bounds.NOTICED:
            sure = "may not be relied on" if high < bounds.NOTICED else "is not shown to be fit"
            sentence = f"It {sure} to {USES[name]}: {said}."
            yield Finding(f"unsure_of_{name}", "warning", sentence, evidence, remedy)


def noticed(document: Document) -> Iterator[Finding]:
    """All damage that is, in one sentence."""
    found = [(name, one) for name, one in _probed(document) if one["ci95"][0] >= bounds.NOTICED]
    if found:
        uses = [f"{USES[name]} ({interval(one, percent)})" for name, one in found]
        yield Finding(
            "notices",
            "info",
            f"May be used to {'; to '.join(uses)}: so many answers score lower when spoilt.",
            {f"sensitivity.{name}": one for name, one in found},
        )


def _probed(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, found in document["sensitivity"].items():
        if "left_out" not in found:
            yield name, found


def no_prompts(document: Document) -> Iterator[Finding]:
    """A model of texts, which has never seen an answer beside its prompt."""
    pairs = document["pairs"]
    if not pairs["reads_prompts"]:
        yield Finding(
            "no_prompts",
            "warning",
            "May not be used to judge whether an answer fits its prompt: it is trained or audited "
            "on texts without one, so that the probes of prompts do not apply.",
            {"pairs.with_prompt": pairs["with_prompt"]},
            "train it on pairs with their prompts",
        )


def short_answers(document: Document) -> Iterator[Finding]:
    """Right and short beside fluent and empty."""
    found = document["short_answers"]
    if "left_out" in found:
        return
    said = f"it prefers {interval(found, percent)} of {found['rows']} right short answers to "
    said += "fluent nonsense"
    evidence = {"short_answers": found}
    low, high = found["ci95"]
    if low >= bounds.SHORT_ANSWERS and found["value"] >= bounds.NOTICED:
        sentence = f"May be used on short factual answers: {said}."
        yield Finding("knows_short_answers", "info", sentence, evidence)
        return
    beaten = high < bounds.SHORT_ANSWERS
    yield Finding(
        "fluency_over_fact",
        "problem" if beaten else "warning",
        f"{'May not be used' if beaten else 'It is not shown to be fit'} to judge short factual "
        f"answers: {said}.",
        evidence,
        "add short right answers to the chosen side of its training pairs",
    )


CHECKS: tuple[Callable[[Document], Iterator[Finding]], ...] = (
    length_hacker,
    length_confounded,
    repetition,
    batch_dependent,
    blank_sensitive,
    probes,
    noticed,
    no_prompts,
    short_answers,
)
