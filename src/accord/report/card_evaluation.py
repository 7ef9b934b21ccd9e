"""The evaluation section of a model card: between two marks, since it is measured after the card.

The card belongs to its user from the moment it is written; what stands between the marks does not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from accord.report.environment import cards
from accord.report.numbers import number, share, signed

BEGIN, END = "<!-- accord: evaluation -->", "<!-- end accord: evaluation -->"
STATISTICS: Mapping[str, str] = {
    "ended": "ended by themselves",
    "length": "mean length, tokens",
    "empty": "empty",
    "unique": "unlike all others",
    "distinct_2": "distinct 2-grams",
    "copies": "8-grams copied from the training text",
}
"""Statistics of the completions that a card shows, in plain words."""
COUNTED = ("length",)
"""Those that are no shares."""
OFF: Mapping[str, float] = {"top_k": 0, "top_p": 1, "min_p": 0}


def evaluation_text(
    policy: str, evaluation: Mapping[str, Any], stage: Mapping[str, Any], mark: str = ""
) -> str:
    """One policy's part of an evaluation, as Markdown.

    Args:
        policy: Its name in the evaluation.
        evaluation: `accord/evaluation.json` of an evaluate stage.
        stage: `accord/stage.json` of the policy, which says what it was trained for.
        mark: Fingerprint of the evaluation.
    """
    protocol, found = evaluation["protocol"], evaluation["policies"][policy]
    sampling = protocol["sampling"]
    rows = [
        {**_score(name, score), **_difference(policy, name, evaluation["comparisons"])}
        for name, score in found["scores"].items()
    ]
    is_reference = policy == protocol["reference"]
    if found.get("kl") and not is_reference:
        rows.append({**_score("KL from the reference, nats", found["kl"]), **NO_DIFFERENCE})
    template = cards().get_template("card_evaluation.md.j2")
    return template.render(
        protocol=protocol,
        sampling=sampling,
        sampled=[name for name, off in OFF.items() if sampling[name] != off],
        is_reference=is_reference,
        scores=rows,
        statistics=_statistics(found["statistics"]),
        trained_for=_trained_for(protocol, stage),
        seen=protocol.get("trained_on", {}).get(policy),
        mark=mark,
    ).strip()


def with_evaluations(card: str, texts: Sequence[str]) -> str:
    """A card with these texts as its evaluation; as it was where it has no marks for one."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return card
    body = "\n\n".join(("## Evaluation", *texts)) if texts else ""
    return f"{before}{BEGIN}\n{body}\n{END}{after}"


NO_DIFFERENCE: Mapping[str, str] = {"difference": "", "difference_ci95": "", "wins": ""}


def _score(name: str, score: Mapping[str, Any]) -> dict[str, str]:
    return {"name": name, "mean": number(score["mean"], 3), "ci95": _interval(score["ci95"])}


def _difference(
    policy: str, scorer: str, comparisons: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    for found in comparisons:
        if (found["policy"], found["scorer"]) == (policy, scorer):
            return {
                "difference": signed(found["difference"], 3),
                "difference_ci95": _interval(found["ci95"]),
                "wins": share(found["win_rate"], 3),
            }
    return NO_DIFFERENCE


def _interval(ends: Sequence[float]) -> str:
    return f"{number(ends[0], 3)} to {number(ends[1], 3)}"


def _statistics(found: Mapping[str, float]) -> dict[str, str]:
    return {
        words: number(found[name], 1) if name in COUNTED else share(found[name], 3)
        for name, words in STATISTICS.items()
        if found.get(name) is not None
    }


def _trained_for(protocol: Mapping[str, Any], stage: Mapping[str, Any]) -> list[str]:
    """Scorers that the policy was trained to raise: the same function, or the same reward model."""
    terms = stage.get("config", {}).get("reward")
    goals = {term.get("model") or term.get("function") for term in terms or () if term}
    return [
        name
        for name in protocol["scorers"]
        if name in goals or {*_named(protocol.get("rewards", {}).get(name, {}))} & goals
    ]


def _named(reward: Mapping[str, Any]) -> list[str]:
    return [reward[key] for key in ("model", "function") if reward.get(key)]
