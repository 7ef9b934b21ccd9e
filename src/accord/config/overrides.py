"""`key=value` settings, laid over a document by dotted path."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from accord.config.document import Document, Place, dotted, parse_value
from accord.errors import AccordError, did_you_mean

Locate = Callable[[tuple[str, ...]], Place]
"""Turns the keys as written into a place of the document: `dpo.beta` into `stages.dpo.beta`."""


def apply(document: Document, overrides: Sequence[str], locate: Locate) -> Document:
    """The document with every override laid over it, the last one winning.

    Raises:
        AccordError: An override is not `key=value`, its value is not YAML, or its path leads
            through something that has no keys.
    """
    value = deepcopy(document.value)
    origins = dict(document.origins)
    for text in overrides:
        place, item = parse(text, locate)
        _put(value, place, item, text)
        for known in [known for known in origins if known[: len(place)] == place]:
            del origins[known]
        origins[place] = f"override '{text}'"
    return replace(document, value=value, origins=origins)


def parse(text: str, locate: Locate) -> tuple[Place, Any]:
    """Place and value of one override."""
    key, equals, value = text.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise AccordError(
            "a setting is written key=value", f"override '{text}'", "for example dpo.beta=0.3"
        )
    try:
        return locate(keys), parse_value(value)
    except AccordError as error:
        raise AccordError(error.what, f"override '{text}'", error.fix) from None


def _put(tree: Any, place: Place, value: Any, text: str) -> None:
    """Set a place in nested mappings and lists, making the mappings that are missing."""
    where = f"override '{text}'"
    for depth, key in enumerate(place):
        last = depth == len(place) - 1
        if isinstance(tree, list):
            index = _index(tree, place[: depth + 1], where)
            if last:
                tree[index] = value
            elif tree[index] is None:
                tree[index] = {}
            tree = tree[index]
        elif isinstance(tree, dict):
            if last:
                tree[key] = value
            elif tree.get(key) is None:
                tree[key] = {}
            tree = tree[key]
        else:
            raise AccordError(
                f"'{dotted(place[:depth])}' is a single value: it has no '{key}'",
                where,
                f"set it whole: {dotted(place[:depth])}=...",
            )


def _index(items: list[Any], place: Place, where: str) -> int:
    key = str(place[-1])
    if not key.isdecimal():
        raise AccordError(
            f"'{dotted(place[:-1])}' is a list; '{key}' is not a number of an item",
            where,
            f"items are numbered from 0 to {len(items) - 1}",
        )
    if int(key) >= len(items):
        raise AccordError(
            f"'{dotted(place[:-1])}' has {len(items)} items, there is no item {key}",
            where,
            "items are numbered from 0",
        )
    return int(key)


def in_recipe(stages: Sequence[str], top: Sequence[str]) -> Locate:
    """Locate keys in a recipe: a stage's name first is short for `stages.NAME`."""

    def locate(keys: tuple[str, ...]) -> Place:
        first = keys[0]
        if first in top:
            return keys
        if first in stages:
            return ("stages", *keys)
        raise AccordError(
            f"'{first}' is neither a stage nor a key of the recipe",
            fix=did_you_mean(first, [*stages, *top]),
        )

    return locate


def as_written(keys: tuple[str, ...]) -> Place:
    """Locate keys in a single stage's settings: they stand as written."""
    return keys
