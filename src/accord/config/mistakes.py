"""Pydantic's findings said in plain words: one message a mistake, with its line and its key."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from accord.config.document import Document, Place
from accord.errors import AccordError, did_you_mean

OTHER_WORDS = {
    "dpo": "preference",
    "rpo": "preference",
    "eval": "evaluate",
    "evaluation": "evaluate",
    "report": "evaluate",
    "pretraining": "pretrain",
    "train": "pretrain",
    "finetune": "sft",
    "tokeniser": "tokenizer",
}
"""What users of other tools call a kind of stage."""

OTHER_KEYS = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "micro_batch_size",
    "gradient_accumulation_steps": "batch_size (of a whole step; micro_batch_size splits it)",
    "max_seq_length": "max_length",
    "lr_scheduler_type": "schedule",
    "weight_decay_rate": "weight_decay",
    "bf16": "precision: bf16",
    "loss_weights": "loss: {sigmoid: 0.8, sft: 0.2}",
    "sft_weight": "loss: {sigmoid: 1, sft: 0.1}",
    "rpo_alpha": "loss: {sigmoid: 1, sft: 1}",
    "use_weighting": "weighting: wpo_aligned",
    "reference_free": "a loss without a reference, such as simpo",
    "peft_config": "lora",
    "target_kl": "kl_target",
    "num_sample_generations": "num_generations",
    "logging_steps": "log_every",
    "save_steps": "save_every",
    "save_total_limit": "keep_last",
    "eval_steps": "eval_every",
    "report_to": "trackers",
}
"""What keys are called elsewhere, and what stands for them here."""

NO_KEYS = {
    "device": "delete it: the first GPU is used where there is one, else the CPU",
    "fp16": "delete it: precision is fp32 or bf16",
    "output_dir": "delete it: the folder is given with --out",
}
"""Keys that other libraries have and that nothing stands for here."""

_MOST_KEYS = 12  # more are no help in a message

NAMES = "letters, digits, '-' and '_', starting with a letter or digit"


@dataclass(frozen=True)
class _Spot:
    """A place in the tree and what the models say may stand there."""

    place: Place
    annotation: Any
    limits: tuple[Any, ...]
    about: str


def explain(
    error: ValidationError, annotation: Any, document: Document, at: Place = ()
) -> AccordError:
    """One AccordError for all that a validation found wrong with a document.

    Args:
        error: What pydantic found.
        annotation: The type that was validated.
        document: Where each value was written.
        at: Place in the document of what was validated.
    """
    findings = error.errors(include_url=False)
    mistakes: dict[Place, AccordError] = {}
    for finding in findings:
        spot = _follow(annotation, finding["loc"])
        if finding["type"] == "too_short" and any(inside(known, spot.place) for known in mistakes):
            continue  # pydantic counts only the items that are well
        key = ("kind",) if finding["type"] == "union_tag_invalid" else ()
        where = document.where((*at, *spot.place, *key))
        mistakes.setdefault(spot.place, _mistake(finding, spot, where))
    return combine(list(mistakes.values()), document.name)


def inside(place: Place, outer: Place) -> bool:
    """Whether a place lies within another."""
    return place[: len(outer)] == outer


def combine(mistakes: list[AccordError], name: str) -> AccordError:
    """Several mistakes as one error, each with its own place and remedy."""
    if len(mistakes) == 1:
        return mistakes[0]
    text = [f"{len(mistakes)} mistakes in {name}"]
    for number, mistake in enumerate(mistakes, 1):
        first, *others = mistake.lines()
        text += [f"{number}. {first}", *(f" {line}" for line in others)]
    return AccordError("\n".join(text))


def _mistake(finding: Mapping[str, Any], spot: _Spot, where: str) -> AccordError:
    """One finding in plain words."""
    key, value = _named(spot.place), finding["input"]
    expected = f"expected {describe(spot.annotation, spot.limits)}"
    what, fix = f"{key} is {_shown(value)}", expected
    match finding["type"]:
        case "extra_forbidden":
            what, fix = f"unknown key '{key}'", _key(key, spot.limits, spot.about)
        case "missing":
            what, fix = f"'{key}' is missing", _fix(key, spot)
        case "finite_number":
            fix = "give a number"
        case "union_tag_invalid":
            tag = finding["ctx"]["tag"]
            what, fix = f"unknown kind '{tag}'", _kind(tag, spot.annotation)
        case "union_tag_not_found":
            what, fix = "'kind' is missing", "known: " + ", ".join(sorted(_tags(spot.annotation)))
        case "value_error":
            what, _, fix = str(finding["ctx"]["error"]).partition("; ")
        case "string_pattern_mismatch":
            what, fix = f"'{value}' is not a name", f"use {NAMES}"
        case "literal_error" if isinstance(value, str):
            close = did_you_mean(value, _choices(spot.annotation))
            fix = expected if close.startswith("known") else f"{close} {expected}"
        case "string_type" if isinstance(value, int | float):
            fix = f"{expected}; put it in quotes"
    return AccordError(what, where, fix)


def _named(place: Place) -> str:
    match place:
        case ():
            return "the document"
        case (*_, parent, int(index)):
            return f"item {index} of {parent}"
    return str(place[-1])


def _fix(key: str, spot: _Spot) -> str:
    if not spot.about:
        return f"give {describe(spot.annotation, spot.limits)}"
    return f"give {key}: {spot.about[:1].lower()}{spot.about[1:].rstrip('.')}"


def _key(key: str, known: Iterable[str], kind: str) -> str:
    """The key that is meant: by its name elsewhere, where a model has it, or by its spelling."""
    known = list(known)
    if key in NO_KEYS:
        return NO_KEYS[key]
    close = did_you_mean(key, known)
    if key not in OTHER_KEYS and not close.startswith("known"):
        return close
    other = OTHER_KEYS.get(next(iter(get_close_matches(key, OTHER_KEYS, n=1, cutoff=0.8)), ""), "")
    if re.split("[: ]", other)[0] in known or (other.startswith("a loss") and "loss" in known):
        return f"here it is {other}"
    if kind and len(known) > _MOST_KEYS and close.startswith("known"):
        return f"accord explain {kind} lists the keys of this stage"
    return close


def _kind(tag: str, annotation: Any) -> str:
    if OTHER_WORDS.get(tag) in _tags(annotation):
        return f"did you mean '{OTHER_WORDS[tag]}'?"
    return did_you_mean(tag, _tags(annotation))


def _shown(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case str():
            return f"'{value[:60]}...'" if len(value) > 60 else f"'{value}'"
        case dict():
            return "a mapping"
        case list():
            return f"a list of {len(value)}"
    return str(value)


def _follow(annotation: Any, loc: Iterable[str | int]) -> _Spot:
    """Walk pydantic's location through the models, leaving out the names of union members."""
    spot = _Spot((), annotation, (), "")
    for step in loc:
        core = _core(spot.annotation)
        members = _tags(core)
        if members:
            spot = _Spot(spot.place, members.get(str(step)), (), spot.about)
        elif isinstance(core, type) and issubclass(core, BaseModel):
            spot = _field(core, spot.place, step)
        elif get_origin(core) is dict and step != "[key]":
            spot = _Spot((*spot.place, step), get_args(core)[1], (), "")
        elif get_origin(core) in (tuple, list) and isinstance(step, int):
            items = [item for item in get_args(core) if item is not ...]
            spot = _Spot((*spot.place, step), items[min(step, len(items) - 1)], (), "")
        else:
            break
    return spot


def _field(model: type[BaseModel], place: Place, step: str | int) -> _Spot:
    for name, field in model.model_fields.items():
        if step in (field.alias, name):
            key = field.alias or name
            return _Spot((*place, key), field.annotation, tuple(field.metadata), _about(field))
    # Unknown: the keys that are known stand where the limits would, the kind where its meaning.
    kind = get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()
    return _Spot((*place, step), None, tuple(keys(model)), str(kind[0]) if kind else "")


def keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model as they are written in a recipe."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _about(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _core(annotation: Any) -> Any:
    """An annotation without Annotated and without `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType):
            members = [item for item in get_args(annotation) if item is not NoneType]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _tags(annotation: Any) -> dict[str, type[BaseModel]]:
    """The kinds a discriminated union knows; empty for anything else."""
    core = _core(annotation)
    if get_origin(core) not in (Union, UnionType):
        return {}
    found = {}
    for member in get_args(core):
        if isinstance(member, type) and issubclass(member, BaseModel):
            found[get_args(member.model_fields["kind"].annotation)[0]] = member
    return found


def _choices(annotation: Any) -> list[str]:
    core = _core(annotation)
    return [str(choice) for choice in get_args(core)] if get_origin(core) is Literal else []


_LIMITS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def describe(annotation: Any, limits: Iterable[Any] = ()) -> str:
    """What may stand at a place, in plain words: `a number above 0`."""
    core = _core(annotation)
    said = []
    for limit in limits:
        said += [f"{w} {getattr(limit, k)}" for k, w in _LIMITS if hasattr(limit, k)]
        if getattr(limit, "min_length", 0):
            said.append("with at least one item")
    return " ".join(part for part in (_what(core), " and ".join(said)) if part)


def _what(core: Any) -> str:
    inside = get_args(core)
    if core in _PLAIN:
        return _PLAIN[core]
    if _choices(core):
        return "one of " + ", ".join(_choices(core))
    if get_origin(core) in (tuple, list):
        return _list(inside)
    if isinstance(core, type) and issubclass(core, BaseModel):
        return "a mapping with " + ", ".join(keys(core))
    known = " or ".join(_tags(core))
    return f"a mapping with kind: {known}" if known else "a mapping (key: value)"


def _list(inside: tuple[Any, ...]) -> str:
    items = [describe(item) for item in inside if item is not ...]
    if len(items) == 2:
        return f"two values: [{items[0]}, {items[1]}]"
    mapping = items[0].startswith("a mapping")
    return "a list of mappings" if mapping else f"a list, each item {items[0]}"
