"""What differs between variants, and so which differences between them can be called effects.

A key reaches a policy's score in two ways: through the stages the policy is made by (*training*),
or through how it is sampled and judged (*evaluation*). A key that does neither is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

Settings = Mapping[str, Any]
Changes = Mapping[str, tuple[Any, Any]]
Verdict = Literal["nothing", "isolated", "together", "confounded"]

LABELS = frozenset({"name", "title", "description", "seed"})
"""Keys of a recipe that are no factor; seeds are averaged over."""
NO_EFFECT = frozenset(
    {"log_every", "save_every", "keep_last", "keep_steps", "async_save", "trackers", "resume"}
    | {"seed"}
)
"""Keys of a stage that are no factor."""
UNSCORED = frozenset({"kind", "policies", "shown", "bootstrap", "copies_from"})
"""Keys of an evaluation that change no policy's scores."""
SHOWN = 60
"""Characters of a value that a sentence quotes."""


@dataclass(frozen=True)
class Contrast:
    """What differs between two variants, as far as it reaches what is compared.

    Args:
        before: The variant subtracted.
        after: The other one.
        training: Keys that reach the policy, with their two values; none: unset.
        evaluation: Keys that reach how it is sampled and judged. A key can be in both: a reward
            model that trains a policy and judges it.
    """

    before: str
    after: str
    training: Changes
    evaluation: Changes

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that differs, sorted."""
        return tuple(sorted({*self.training, *self.evaluation}))

    @property
    def verdict(self) -> Verdict:
        """Whether a difference is due to one key, to several of one side, or to either side."""
        if self.training and self.evaluation:
            return "confounded"
        return ("nothing", "isolated")[len(self.keys)] if len(self.keys) < 2 else "together"

    @property
    def side(self) -> str:
        """`training` or `evaluation` where all that differs is on one side, else empty."""
        if bool(self.training) == bool(self.evaluation):
            return ""
        return "training" if self.training else "evaluation"

    @property
    def sentence(self) -> str:
        """What a difference between the two may be put down to."""
        match self.verdict:
            case "nothing":
                return "nothing differs that reaches it: a difference is chance"
            case "isolated":
                return f"isolates {self.side}: {_quoted({**self.training, **self.evaluation})}"
            case "together":
                return (
                    f"confounded: {len(self.keys)} {self.side} keys change at once "
                    f"({', '.join(self.keys)}); a difference is due to them together, to none "
                    "of them alone"
                )
            case "confounded":
                return (
                    f"confounded: training ({', '.join(self.training)}) and evaluation "
                    f"({', '.join(self.evaluation)}) change at once; a difference cannot be "
                    "called an effect of training"
                )

    def to_json(self) -> dict[str, Any]:
        """The contrast as plain values, each key with `[before, after]`."""
        return {
            "before": self.before,
            "after": self.after,
            "training": {key: list(values) for key, values in self.training.items()},
            "evaluation": {key: list(values) for key, values in self.evaluation.items()},
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def factors(
    variants: Mapping[str, Settings], policy: str = "", scorer: str = ""
) -> dict[tuple[str, str], Contrast]:
    """The contrast of every two variants, (before, after) in the order given.

    Args:
        variants: Name to resolved settings, dotted.
        policy: Keep the keys that reach this policy; empty: all keys.
        scorer: Keep the keys that reach this scorer; empty: all keys.
    """
    flat = {name: flattened(settings) for name, settings in variants.items()}
    return {
        (before, after): _contrast(before, after, flat, policy, scorer)
        for before, after in combinations(flat, 2)
    }


def flattened(settings: Settings, above: str = "") -> dict[str, Any]:
    """Settings with every mapping among their values spread out into dotted keys."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            out |= flattened(value, f"{name}.")
        else:
            out[name] = list(value) if isinstance(value, tuple) else value
    return out


def changes(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """Keys that could change a result and differ, with both values; an unset key counts as none."""
    return {
        key: (before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key) and not _is_label(key)
    }


def evaluations(settings: Settings) -> set[str]:
    """Names of the evaluate stages."""
    return {key.split(".")[1] for key, kind in _kinds(settings).items() if kind == "evaluate"}


def _kinds(settings: Settings) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k.startswith("stages.") and k.endswith(".kind")}


def upstream(settings: Settings, stage: str) -> set[str]:
    """The stage and all that it starts from, found by their names among its settings.

    A best-of-n is no stage: it is made by what the evaluation's reference is made by, and by the
    reward models that it chooses by.
    """
    stages = {key.split(".")[1] for key in settings if key.startswith("stages.")}
    found: set[str] = set()
    waiting = {stage, *_choosing(settings, stage)} & stages
    while waiting:
        found |= waiting
        named = {n for s in waiting for n in _mentioned(settings, f"stages.{s}.")}
        waiting = (named & stages) - found
    return found


def _choosing(settings: Settings, policy: str) -> set[str]:
    """Stages that a best-of-n draws from and chooses by; none for any other policy."""
    found: set[str] = set()
    for stage in evaluations(settings):
        place = f"stages.{stage}.best_of.{policy}."
        if any(key.startswith(place) for key in settings):
            found |= _mentioned(settings, place) | {settings[f"stages.{stage}.reference"]}
    return found


def _contrast(
    before: str, after: str, flat: Mapping[str, Settings], policy: str, scorer: str
) -> Contrast:
    both = flat[before], flat[after]
    differing = changes(*both)
    evaluate = set().union(*(evaluations(s) for s in both))
    trained = set().union(*(upstream(s, policy) for s in both)) if policy else None
    judging = set().union(*(_judges(s, scorer) for s in both)) if scorer else set[str]()
    training, evaluation = {}, {}
    for key, values in differing.items():
        stage = key.split(".")[1] if key.startswith("stages.") else ""
        if stage in evaluate:
            if _scores(key, scorer) and _answers(key, policy):
                evaluation[key] = values
            continue
        if not stage or trained is None or stage in trained:
            training[key] = values
        if stage in judging:
            evaluation[key] = values
    return Contrast(before, after, training, evaluation)


def _is_label(key: str) -> bool:
    parts = key.split(".")
    return key in LABELS or (parts[0] == "stages" and len(parts) == 3 and parts[2] in NO_EFFECT)


def _scores(key: str, scorer: str) -> bool:
    """Whether a key of an evaluation can change what a scorer gives."""
    part, *rest = key.split(".")[2:]
    if part in UNSCORED or (scorer and part in ("scorers", "reference") and scorer != "fluency"):
        return False
    return not (scorer and part == "rewards" and rest and rest[0] != scorer)


def _answers(key: str, policy: str) -> bool:
    """Whether a key of an evaluation can change what a policy answers: not another best-of-n's."""
    part, *rest = key.split(".")[2:]
    return not (policy and part == "best_of" and rest and rest[0] != policy)


def _judges(settings: Settings, scorer: str) -> set[str]:
    """Stages whose models a scorer asks: a reward model's, or the reference for fluency."""
    found: set[str] = set()
    for stage in evaluations(settings):
        part = "reference" if scorer == "fluency" else f"rewards.{scorer}."
        for name in _mentioned(settings, f"stages.{stage}.{part}"):
            found |= upstream(settings, name)
    return found


def _mentioned(settings: Settings, prefix: str) -> set[str]:
    keys = [k for k in settings if k.startswith(prefix) and not k.endswith(".kind")]
    return {name for key in keys for name in _strings(settings[key])}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(list(value.values()))
    elif isinstance(value, Sequence):
        for part in value:
            yield from _strings(part)


def _quoted(differing: Changes) -> str:
    return ", ".join(f"{k} ({_short(a)} → {_short(b)})" for k, (a, b) in differing.items())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
