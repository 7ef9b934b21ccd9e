"""In which settings two runs differ, and what each of them reaches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accord.evaluation.compare.side import Side, both, either
from accord.evaluation.study.factors import Contrast, factors

A, B = "A", "B"
"""What the two runs are called wherever they stand beside each other."""


@dataclass(frozen=True)
class Settings:
    """The settings of two runs, dotted, and what follows from where they differ.

    Args:
        a: Of the one; of a stage that the other lacks only the links to other stages.
        b: Of the other.
        only: Stages that one of them has, with the side that has it.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    only: Mapping[str, str]

    def contrast(self, policy: str = "", scorer: str = "") -> Contrast:
        """What differs, as far as it reaches a policy and a scorer; empty: any."""
        return factors({A: self.a, B: self.b}, policy, scorer)[A, B]


def settings_of(a: Side, b: Side) -> Settings:
    """The settings of two runs; files whose content only one of them knows are left out."""
    mine, theirs = a.settings, b.settings
    only = {name: A if name in a.stages else B for name in {*a.stages} ^ {*b.stages}}
    stages = {*a.stages, *b.stages}
    return Settings(
        _kept(mine, theirs, only, stages),
        _kept(theirs, mine, only, stages),
        {name: only[name] for name in either(a.stages, b.stages) if name in only},
    )


def differences(settings: Settings, policies: list[str]) -> list[dict[str, Any]]:
    """Every setting that differs: `stage`, `key`, `a`, `b`, `reaches` and which `policies`.

    `reaches` holds `training`, `evaluation`, both, or nothing where it can change no score.

    Args:
        settings: Of `settings_of`.
        policies: Those that both runs evaluated.
    """
    whole = settings.contrast()
    trained = {policy: settings.contrast(policy).training for policy in policies}
    rows = []
    for key in sorted({*settings.a, *settings.b}):
        _, stage, name = key.split(".", 2)
        one, other = settings.a.get(key), settings.b.get(key)
        if one == other or stage in settings.only:
            continue
        rows.append(
            {
                "stage": stage,
                "key": name,
                "a": one,
                "b": other,
                "reaches": [side for side in ("training", "evaluation") if key in _of(whole, side)],
                "policies": [policy for policy, keys in trained.items() if key in keys],
            }
        )
    return rows


def seeds(a: Side, b: Side) -> list[dict[str, Any]]:
    """Seeds that differ: `a`, `b` and the `stages` that drew from them."""
    one, other = a.seeds, b.seeds
    found: dict[tuple[int, int], list[str]] = {}
    for name in both(one, other):
        if one[name] != other[name]:
            found.setdefault((one[name], other[name]), []).append(name)
    return [{"a": pair[0], "b": pair[1], "stages": names} for pair, names in found.items()]


def circumstances(a: Side, b: Side) -> list[dict[str, Any]]:
    """What differs of machine, versions and git revision: `what`, `a`, `b`."""
    one, other = (_flat(side.document.get("environment", {})) for side in (a, b))
    return [
        {"what": what, "a": one.get(what), "b": other.get(what)}
        for what in either(one, other)
        if one.get(what) != other.get(what)
    ]


def _of(contrast: Contrast, side: str) -> Mapping[str, Any]:
    return contrast.training if side == "training" else contrast.evaluation


def _kept(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], only: Mapping[str, str], stages: set[str]
) -> dict[str, Any]:
    found = {}
    for key, value in mine.items():
        _, stage, name = key.split(".", 2)
        if name.startswith("files.") and key not in theirs:
            continue
        # All keys of a stage that the other lacks would drown those that differ in value.
        if stage not in only or name == "kind" or _links(value, stages):
            found[key] = value
    return found


def _links(value: Any, stages: set[str]) -> bool:
    named = value if isinstance(value, list) else [value]
    return any(isinstance(name, str) and name in stages for name in named)


def _flat(environment: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in environment.items() if key != "versions"}
    return {**own, **environment.get("versions", {})}
