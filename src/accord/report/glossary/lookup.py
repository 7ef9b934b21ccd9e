"""From a name, as a log or a table writes it, to what the glossary knows of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from accord.report.glossary import (
    algorithms,
    data,
    evaluation,
    machine,
    preference,
    reward,
    rollouts,
    routing,
    training,
    updates,
)
from accord.report.glossary.entry import PAIRS, ROLLOUTS, Entry

SUBJECTS: Mapping[str, tuple[Mapping[str, Entry], Mapping[str, Entry]]] = {
    "training": (training.METRICS, training.KEYS),
    "mixtures of experts": (routing.METRICS, routing.KEYS),
    "preference": (preference.METRICS, preference.KEYS),
    "reward models": (reward.METRICS, reward.KEYS),
    "policies": ({**rollouts.METRICS, **updates.METRICS}, algorithms.KEYS),
    "evaluation": (evaluation.METRICS, evaluation.KEYS),
    "data": (data.METRICS, data.KEYS),
    "machine": (machine.METRICS, machine.KEYS),
}
"""Subject to its metrics by name, and to the advice on its recipe keys by `Model.field`."""

METRICS: Mapping[str, Entry] = {
    n: e for metrics, _ in SUBJECTS.values() for n, e in metrics.items()
}
KEYS: Mapping[str, Entry] = {n: e for _, keys in SUBJECTS.values() for n, e in keys.items()}

LABELLED: Mapping[str, Entry] = {
    "rewards/<term>/mean": Entry(
        "Mean of this term of the reward over the completions of a roll-out, before its weight.",
        healthy="Rising with reward, or held where it is a penalty.",
        bad="One term rises at the others' cost: it has the larger spread.",
        try_="Another weight; see reward.weight.",
        stages=ROLLOUTS,
    ),
    "judges/<term>/mean": Entry(
        "Mean of this judge over the completions of a roll-out; no stage is trained on it.",
        healthy="Rising with reward, or level.",
        bad="Falling back by more than a fifth of its rise and 15 % of its height while reward "
        "rises: the policy is over-optimised (over_optimised).",
        try_="Stop at the judge's best step, raise beta (PPO: kl_coef), train a better reward "
        "model.",
        stages=ROLLOUTS,
    ),
    "loss/<name>": Entry(
        "The loss of that name before its weight; logged where `loss` names several.",
        healthy="As by itself: `accord explain NAME`.",
        bad="One falls while another rises: they pull apart.",
        try_="Other weights in loss.",
        stages=PAIRS,
    ),
}
"""Names whose middle is the recipe's own word."""

_PATTERNS = {name: re.compile(re.sub(r"<\w+>", "(.+)", name)) for name in LABELLED}
_GROUP = re.compile(r"(?P<metric>.+?)/(?P<kind>source|language):(?P<name>.+)")


@dataclass(frozen=True)
class Found:
    """A metric's entry, the name it is known by, and which rows the asked name is about."""

    name: str
    entry: Entry
    rows: str


def find(term: str) -> Found | None:
    """What is known of a metric: its `eval_` form and its groups are found by their metric."""
    grouped = _GROUP.fullmatch(term)
    bare = grouped["metric"] if grouped else term
    rows = [f"of the {grouped['kind']} {grouped['name']}"] if grouped else []
    name = _known(bare)
    if name is None:
        name = _known(bare.removeprefix("eval_"))
        rows = ["held-out rows", *rows]
    elif rows:
        rows = ["rows", *rows]
    if name is None:
        return None
    return Found(name, METRICS.get(name) or LABELLED[name], " ".join(rows))


def explain(term: str) -> str:
    """The metric in one sentence, or an empty string; `eval_` marks the held-out value."""
    found = find(term)
    if found is None:
        return ""
    return f"On {found.rows}: {found.entry.what}" if found.rows else found.entry.what


def tooltip(term: str) -> str:
    """The metric in a few sentences: what it is, and which values are well and which are not."""
    found = find(term)
    if found is None:
        return ""
    more = {"Healthy": found.entry.healthy, "Otherwise": found.entry.bad, "Try": found.entry.try_}
    return "\n".join([explain(term), *(f"{k}: {words}" for k, words in more.items() if words)])


def _known(term: str) -> str | None:
    if term in METRICS:
        return term
    return next((name for name, form in _PATTERNS.items() if form.fullmatch(term)), None)
