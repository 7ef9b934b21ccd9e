"""A study: variants of one recipe, each run with several seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from accord.config.base import Strict
from accord.config.document import Document, parse_value, read_yaml
from accord.config.load import load_recipe, validate
from accord.config.recipe import Recipe
from accord.errors import AccordError, did_you_mean

VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
PLAIN = "recipe"
"""The one variant of a study that names none: the recipe itself."""
FILE = "a study holds name:, recipe: and variants:"


class Study(Strict):
    """What a study's file may say."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder of the study below `runs/`."""
    title: str = ""
    """Heading of the study's report."""
    recipe: str
    """The recipe's YAML file; a relative path starts at the study's own folder."""
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    """Every variant is run with each of them."""
    variants: dict[VariantName, dict[str, Any]] = Field(default={PLAIN: {}}, min_length=1)
    """Name to settings by dotted path, such as {beta03: {dpo.beta: 0.3}}; {} is the recipe."""
    evaluate: str | None = None
    """The evaluate stage whose numbers are compared; none: the recipe's last."""
    resamples: int | None = Field(default=None, gt=0)
    """Resamples that the study's intervals rest on; none: the statistics' own number."""

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        twice = next((seed for index, seed in enumerate(seeds) if seed in seeds[:index]), None)
        if twice is not None:
            raise ValueError(f"seed {twice} is written twice; delete one of them")
        return seeds


@dataclass(frozen=True)
class LoadedStudy:
    """A study with the recipe of each of its variants.

    Args:
        study: As the file has it.
        document: The file, for the lines of messages.
        recipe: The recipe's file.
        plain: The recipe itself.
        recipes: Variant to the recipe under its settings.
        settings: Variant to its settings as `key=value`.
        evaluate: Name of the evaluate stage that is compared.
    """

    study: Study
    document: Document
    recipe: Path
    plain: Recipe
    recipes: Mapping[str, Recipe]
    settings: Mapping[str, tuple[str, ...]]
    evaluate: str

    def where(self, *place: str) -> str:
        """Line and key path of a place in the study's file."""
        return self.document.where(place)


def load_study(path: str | Path) -> LoadedStudy:
    """Read a study and check its recipe under every variant.

    Raises:
        AccordError: Anything wrong with the file, the recipe, or a variant's settings.
    """
    path = Path(path)
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        found = "empty" if document.value is None else "not a mapping"
        raise AccordError(f"the file is {found}", document.name, FILE)
    if "stages" in document.value:
        what = "this is a recipe, not a study"
        raise AccordError(what, document.where(("stages",)), f"run it with accord run; {FILE}")
    study: Study = validate(Study, document)
    file = path.parent / Path(study.recipe).expanduser()
    if not file.is_file():
        near = did_you_mean(file.name, [other.name for other in file.parent.glob("*.yaml")])
        raise AccordError(f"there is no recipe '{file}'", document.where(("recipe",)), near)
    plain = load_recipe(file)
    evaluate = _evaluate(study, plain, document)
    settings = {name: _settings(name, study, document) for name in study.variants}
    recipes = {
        name: _variant(file, lines, evaluate, document.where(("variants", name)))
        for name, lines in settings.items()
    }
    return LoadedStudy(study, document, file, plain, recipes, settings, evaluate)


def _evaluate(study: Study, recipe: Recipe, document: Document) -> str:
    """Name of the stage that is compared."""
    names = [name for name, stage in recipe.stages.items() if stage.kind == "evaluate"]
    if not names:
        what = f"the recipe '{recipe.name}' has no evaluate stage: nothing could be compared"
        raise AccordError(what, document.where(("recipe",)), "add one to the recipe")
    if study.evaluate is None:
        return names[-1]
    if study.evaluate not in names:
        what = f"the recipe '{recipe.name}' has no evaluate stage '{study.evaluate}'"
        raise AccordError(what, document.where(("evaluate",)), did_you_mean(study.evaluate, names))
    return study.evaluate


def _settings(variant: str, study: Study, document: Document) -> tuple[str, ...]:
    """A variant's settings as they are written on a command line."""
    given = study.variants[variant]
    if "seed" in given:
        what = f"variant '{variant}' sets the recipe's seed"
        where = document.where(("variants", variant, "seed"))
        raise AccordError(what, where, "list seeds under seeds:; they run every variant")
    return tuple(f"{key}={written(value)}" for key, value in given.items())


def written(value: Any) -> str:
    """A plain value as the text of a `key=value` setting that is read as just that value."""
    forms = [json.dumps(value, ensure_ascii=False), json.dumps(value)]
    for form in [value, *forms] if isinstance(value, str) else forms:
        try:
            if parse_value(form) == value:
                return form
        except AccordError:
            continue
    raise AccordError(f"{value!r} cannot be written as a setting", fix="use plain text")


def _variant(file: Path, settings: Sequence[str], evaluate: str, where: str) -> Recipe:
    """The recipe under a variant's settings; mistakes name the variant's line too."""
    try:
        recipe = load_recipe(file, settings)
    except AccordError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise AccordError(error.what, place, error.fix) from None
    stage = recipe.stages.get(evaluate)
    if stage is None or stage.kind != "evaluate":
        what = f"under this variant '{evaluate}' is no evaluate stage: it is what is compared"
        raise AccordError(what, where, "leave its kind as it is")
    return recipe
