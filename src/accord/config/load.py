"""Recipes and stage settings from files and `key=value`, checked before anything runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from accord.config import mistakes, overrides, references
from accord.config.document import Document, read_yaml
from accord.config.model import PRESETS, ModelConfig
from accord.config.recipe import Recipe
from accord.config.stages import SCORERS, EvaluateStage, PretrainStage, StageConfig
from accord.errors import AccordError, did_you_mean


def load_recipe(path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay `key=value` settings over it and check all of it.

    Args:
        path: The YAML file.
        settings: Such as `dpo.beta=0.3`, short for `stages.dpo.beta=0.3`; values are YAML.

    Raises:
        AccordError: Anything wrong with the file, a setting, a key, a value or an input.
    """
    document = read_yaml(Path(path))
    _need_mapping(document, "name: and stages:")
    stages = document.value.get("stages")
    names = list(stages) if isinstance(stages, dict) else []
    locate = overrides.in_recipe(names, list(Recipe.model_fields))
    document = overrides.apply(document, settings, locate)
    recipe: Recipe = validate(Recipe, document)
    found = [
        mistake
        for name, stage in recipe.stages.items()
        for mistake in _further_mistakes(stage, ("stages", name), document)
    ]
    found += references.find_mistakes(recipe.stages, document)
    if found:
        raise mistakes.combine(found, document.name)
    return recipe


def stage_from_args(
    kind: str, given: Mapping[str, Any] | Document, settings: Sequence[str] = ()
) -> StageConfig:
    """The settings of a single stage, from a mapping (or a file's document) and `key=value`.

    Raises:
        AccordError: An unknown key, a wrong value, a missing one or an input that is not there.
    """
    document = given if isinstance(given, Document) else Document(dict(given), {}, "")
    _need_mapping(document, "the stage's settings")
    written = document.value.get("kind", kind)
    if written != kind:
        raise AccordError(
            f"these are settings of kind '{written}', the command is for '{kind}'",
            document.where(("kind",)),
        )
    if "stages" in document.value:
        raise AccordError(
            "this is a whole recipe, not the settings of one stage",
            document.where(("stages",)),
            "run it with: accord run FILE",
        )
    document = Document({**document.value, "kind": kind}, document.origins, document.name)
    document = overrides.apply(document, settings, overrides.as_written)
    stage: StageConfig = validate(StageConfig, document)
    found = _further_mistakes(stage, (), document)
    for key, name in references.references(stage):
        missing = references.not_there(name, [], document.where(key))
        found += [missing] if missing else []
    if found:
        raise mistakes.combine(found, document.name or "the settings")
    return stage


def schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors that check YAML as it is typed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True),
    }


def _need_mapping(document: Document, content: str) -> None:
    if not isinstance(document.value, dict):
        found = "empty" if document.value is None else "not a mapping"
        raise AccordError(f"the file is {found}", document.name, f"write {content} into it")


def validate(annotation: Any, document: Document) -> Any:
    """Validate strictly, as JSON: a list is a tuple, but "3" is not 3 and true is not 1."""
    text = json.dumps(document.value, default=str)
    try:
        return TypeAdapter(annotation).validate_json(text, strict=True)
    except ValidationError as error:
        raise mistakes.explain(error, annotation, document) from None


def _further_mistakes(
    stage: StageConfig, place: tuple[str, ...], document: Document
) -> list[AccordError]:
    """What is wrong with a stage's settings that their types do not say."""
    if isinstance(stage, EvaluateStage):
        return _scorer_mistakes(stage, place, document)
    return _shape_mistakes(stage, place, document) if isinstance(stage, PretrainStage) else []


def _scorer_mistakes(
    stage: EvaluateStage, place: tuple[str, ...], document: Document
) -> list[AccordError]:
    """Scorers that are none: found before hours of training, not after."""
    return [
        AccordError(
            f"there is no scorer '{name}'",
            document.where((*place, "scorers", index)),
            did_you_mean(name, SCORERS),
        )
        for index, name in enumerate(stage.scorers)
        if name not in SCORERS
    ]


def _shape_mistakes(
    stage: PretrainStage, place: tuple[str, ...], document: Document
) -> list[AccordError]:
    """What is wrong with the model a pretraining stage describes."""
    preset = PRESETS[stage.model.get("preset", "llama")]
    shape = {key: value for key, value in stage.model.items() if key != "preset"}
    text = json.dumps({**preset, **shape, "vocab_size": 1})
    try:
        TypeAdapter(ModelConfig).validate_json(text, strict=True)
    except ValidationError as error:
        return [mistakes.explain(error, ModelConfig, document, (*place, "model"))]
    return []
