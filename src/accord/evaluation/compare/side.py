"""One of two runs that are compared: its result document, and its settings as dotted keys."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)

DIGITS = 12
"""Digits kept of a hash."""


@dataclass(frozen=True)
class Side:
    """A run.

    Args:
        name: As its user named it.
        document: Its result document, `report.json`.
        records: Stage to its `stage.json`; stages whose folder is not there are missing.
    """

    name: str
    document: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """Stage to its kind, settings, inputs and fingerprint."""
        return self.document.get("stages", {})

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How the policies were evaluated; empty where none was."""
        return self.document.get("protocol", {})

    @property
    def policies(self) -> Mapping[str, Mapping[str, Any]]:
        """The evaluated policies, the reference first."""
        return self.document.get("policies", {})

    @property
    def settings(self) -> dict[str, Any]:
        """`stages.<stage>.<key>` to value, the hash of every file that a stage read among them."""
        found: dict[str, Any] = {}
        for name, stage in self.stages.items():
            found |= spread(stage.get("config", {}), f"stages.{name}.")
            found.setdefault(f"stages.{name}.kind", stage.get("kind"))
        for name, record in self.records.items():
            for source, mark in record.get("data", {}).items():
                found[f"stages.{name}.files.{source}"] = mark[:DIGITS]
        return found

    @property
    def seeds(self) -> dict[str, int]:
        """Stage to the seed it drew from, as far as it is known."""
        recipe = self.document.get("recipe", {})
        known: dict[str, Any] = {}
        for name, stage in self.stages.items():
            own = stage.get("config", {}).get("seed")
            # models that were only evaluated were trained under a recipe of their own
            shared = recipe.get("seed") if name in recipe.get("stages", {}) else None
            seed = self.records.get(name, {}).get("seed", shared if own is None else own)
            known |= {} if seed is None else {name: seed}
        return known

    def model(self, name: str) -> str:
        """What tells one model from another: its stage's fingerprint, its folder's, or its name."""
        if name in self.stages:
            return self.stages[name].get("fingerprint", name)
        inputs = [stage.get("inputs", {}) for stage in self.stages.values()]
        return next((marks[name] for marks in reversed(inputs) if name in marks), name)


def spread(value: Mapping[str, Any], above: str) -> dict[str, Any]:
    """A mapping as dotted keys; the parts of a list of mappings go by their names, or numbers."""
    out: dict[str, Any] = {}
    for key, part in value.items():
        parts = _parts(part)
        if parts:
            out |= spread(parts, f"{above}{key}.")
        else:
            out[f"{above}{key}"] = list(part) if isinstance(part, tuple) else part
    return out


def _parts(value: Any) -> Mapping[str, Any]:
    """A mapping's own parts or those of a list of mappings; empty for any other value."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, Sequence) or isinstance(value, str):
        return {}
    if not all(isinstance(part, Mapping) for part in value):
        return {}
    names = [part.get("name") for part in value]
    if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        return {
            str(name): {key: own for key, own in part.items() if key != "name"}
            for name, part in zip(names, value, strict=True)
        }
    return {str(at): part for at, part in enumerate(value)}


def both(one: Mapping[K, Any], other: Mapping[K, Any]) -> list[K]:
    """Keys that both have, in the first one's order."""
    return [key for key in one if key in other]


def either(one: Mapping[K, Any], other: Mapping[K, Any]) -> list[K]:
    """Keys that one of both has, the first one's before the other's."""
    return list(dict.fromkeys((*one, *other)))


def pair(one: float | None, other: float | None) -> dict[str, float | None]:
    """Two figures and B − A, none where one of them is missing."""
    difference = None if one is None or other is None else other - one
    return {"a": one, "b": other, "difference": difference}
