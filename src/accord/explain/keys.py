"""Every key that a recipe may have, read off the models of `config/`: nothing is listed twice."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from accord.config.data import SourceConfig
from accord.config.functions import FUNCTIONS
from accord.config.mistakes import describe
from accord.config.model import ModelConfig
from accord.config.recipe import Recipe
from accord.config.reward import RewardStage
from accord.config.rewards import RewardTerm
from accord.config.stages import PretrainStage, StageConfig
from accord.config.tasks import TASKS

RECIPE = "recipe"
"""Where the keys stand that belong to no stage."""

INSIDE: Mapping[tuple[str, str], tuple[type[BaseModel], ...]] = {
    (RewardTerm.__name__, "options"): tuple(FUNCTIONS.values()),
    (SourceConfig.__name__, "options"): tuple(TASKS.values()),
    (PretrainStage.__name__, "model"): (ModelConfig,),
    (RewardStage.__name__, "model"): (ModelConfig,),
}
"""What stands below keys that are free mappings to pydantic, by model and field."""


@dataclass(frozen=True)
class Key:
    """A key at one place of a recipe.

    Args:
        name: As it is written: `beta`.
        path: Below its stage, dotted: `rollout.sampling.temperature`.
        stage: Kind of the stage, or `recipe`.
        owner: Model that defines it: `LossSettings`.
        doc: Its docstring as one line.
        default: As a recipe would write it; empty where it must be given.
        takes: Values allowed, in plain words.
        choices: The values, where they are named ones.
    """

    name: str
    path: str
    stage: str
    owner: str
    doc: str
    default: str
    takes: str
    choices: tuple[str, ...]


@cache
def recipe_keys() -> tuple[Key, ...]:
    """Every key of every kind of stage, and the recipe's own."""
    found = [key for key in _below(Recipe, RECIPE, "", ()) if not key.path.startswith(("stages.",))]
    for model in stage_models().values():
        found += _below(model, kind_of(model), "", ())
    return tuple(found)


@cache
def stage_models() -> Mapping[str, type[BaseModel]]:
    """Kind of stage to the model of its settings."""
    return {kind_of(model): model for model in _models(StageConfig)}


def kind_of(model: type[BaseModel]) -> str:
    """What a stage's `kind` says."""
    return model.model_fields["kind"].default


def _below(
    model: type[BaseModel], stage: str, above: str, seen: tuple[type[BaseModel], ...]
) -> Iterator[Key]:
    """Keys of a model and of what stands inside it; a model is not entered inside itself."""
    for name, field in model.model_fields.items():
        written = field.alias or name
        path = f"{above}{written}"
        owner = _owner(model, name)
        choices = tuple(dict.fromkeys(_choices(field.annotation)))
        inside = INSIDE.get((owner, name)) or tuple(_models(field.annotation))
        yield Key(
            written,
            path,
            stage,
            owner,
            _doc(model, name, field, inside),
            _default(field),
            _takes(field, choices),
            choices,
        )
        for other in inside:
            if other not in seen and (stage != RECIPE or name != "stages"):
                yield from _below(other, stage, f"{path}.", (*seen, model))


def _owner(model: type[BaseModel], name: str) -> str:
    """The class in whose body a field is written."""
    return next(
        base.__name__ for base in model.__mro__ if name in getattr(base, "__annotations__", {})
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _choices(annotation: Any) -> Iterator[str]:
    """The named values inside an annotation."""
    if get_origin(annotation) is Literal:
        yield from (value for value in get_args(annotation) if isinstance(value, str))
    else:
        for part in get_args(annotation):
            yield from _choices(part)


def _doc(
    model: type[BaseModel], name: str, field: FieldInfo, inside: tuple[type[BaseModel], ...]
) -> str:
    """A field's docstring; of `kind`, and of a model without words of its own, the model's."""
    if field.description:
        return " ".join(field.description.split())
    if name == "kind":
        return f"{field.default}: {_first_line(model)}"
    return _first_line(inside[0]) if len(inside) == 1 else ""


def _first_line(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _takes(field: FieldInfo, choices: Sequence[str]) -> str:
    """Values allowed; of a union of named ones and something else, both."""
    said = describe(field.annotation, field.metadata)
    if not choices or said.startswith("one of"):
        return said
    return f"one of {', '.join(choices)}; or {said}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is PydanticUndefined else written(value)


def written(value: Any) -> str:
    """A value as YAML has it, in one line."""
    if isinstance(value, BaseModel):
        return "its own keys' defaults"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return re.sub(r"e-0(\d)", r"e-\1", f"{value:g}")
    return str(value)
