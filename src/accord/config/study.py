"""A study: variants of one recipe, each run with several seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from accord.config.base import Strict
from accord.config.document import Document, parse_value, read_yaml
from accord.config.load import load_recipe, validate
from accord.config.recipe import Recipe
from accord.config.stages import EvaluateStage
from accord.errors import AccordError, did_you_mean

VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
PLAIN = "recipe"
"""The one variant of a study that names none: the recipe itself."""
FILE = "a study holds name:, recipe: and variants:"


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    twice = next((seed for index, seed in enumerate(seeds) if seed in seeds[:index]), None)
    if twice is not None:
        raise ValueError(f"seed {twice} is written twice; delete one of them")
    return seeds


Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_different)]
Settings = dict[str, Any]
"""Values by dotted path of the recipe, such as {dpo.beta: 0.3}."""


class Profile(Strict):
    """Another size of a study: fewer or more seeds and variants, settings below the variants'."""

    seeds: Seeds | None = None
    """Seeds of this profile; none: the study's."""
    variants: tuple[VariantName, ...] | None = Field(default=None, min_length=1)
    """Names of the variants it runs; none: all."""
    settings: Settings = Field(default_factory=dict)
    """Settings of the recipe in every variant; what a variant sets itself stands over them."""


class Study(Strict):
    """What a study's file may say."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder of the study below `runs/`."""
    title: str = ""
    """Heading of the study's report."""
    recipe: str
    """The recipe's YAML file; a relative path starts at the study's own folder."""
    seeds: Seeds = (1, 2, 3)
    """Every variant is run with each of them."""
    variants: dict[VariantName, Settings] = Field(default={PLAIN: {}}, min_length=1)
    """Name to settings by dotted path, such as {beta03: {dpo.beta: 0.3}}; {} is the recipe."""
    profiles: dict[VariantName, Profile] = Field(default_factory=dict)
    """Other sizes of the same study, chosen with --profile."""
    evaluate: str | None = None
    """The evaluate stage whose numbers are compared; none: the recipe's last."""
    primary: tuple[str, ...] = ()
    """Scorers that the study is about: their comparisons are corrected by themselves (Holm)."""
    resamples: int | None = Field(default=None, gt=0)
    """Resamples that the study's intervals rest on; none: the statistics' own number."""


@dataclass(frozen=True)
class LoadedStudy:
    """A study with the recipe of each of its variants.

    Args:
        study: As the file has it, under the profile that was chosen.
        document: The file, for the lines of messages.
        recipe: The recipe's file.
        plain: The recipe itself, under the profile's settings.
        recipes: Variant to the recipe under its settings.
        settings: Variant to its settings as `key=value`.
        evaluate: Name of the evaluate stage that is compared.
        profile: Name of the profile; empty: none.
    """

    study: Study
    document: Document
    recipe: Path
    plain: Recipe
    recipes: Mapping[str, Recipe]
    settings: Mapping[str, tuple[str, ...]]
    evaluate: str
    profile: str = ""

    @property
    def name(self) -> str:
        """Name of its folder: the study's, and the profile's behind it."""
        return f"{self.study.name}-{self.profile}" if self.profile else self.study.name

    def where(self, *place: str) -> str:
        """Line and key path of a place in the study's file."""
        return self.document.where(place)


def load_study(path: str | Path, profile: str = "") -> LoadedStudy:
    """Read a study, in a profile's size if one is named, and check its recipe in every variant.

    Raises:
        AccordError: Anything wrong with the file, the recipe, or a variant's settings; the study
            has no such profile.
    """
    path = Path(path)
    document = read_yaml(path)
    study = _read(document)
    chosen = _profile(study, profile, document)
    study = study.model_copy(
        update={
            "seeds": chosen.seeds or study.seeds,
            "variants": {name: study.variants[name] for name in chosen.variants or study.variants},
        }
    )
    file = path.parent / Path(study.recipe).expanduser()
    if not file.is_file():
        near = did_you_mean(file.name, [other.name for other in file.parent.glob("*.yaml")])
        raise AccordError(f"there is no recipe '{file}'", document.where(("recipe",)), near)
    below = tuple(_lines(chosen.settings))
    evaluate = _evaluate(study, load_recipe(file), document)
    plain = _recipe(file, below, evaluate, document.where(("profiles", profile, "settings")))
    settings, recipes = {}, {}
    for name, given in study.variants.items():
        # A variant's own keys come last and win, even below a key that the profile sets whole.
        under = {key: value for key, value in chosen.settings.items() if key not in given}
        settings[name] = (*_lines(under), *_lines(given))
        recipes[name] = _recipe(file, settings[name], evaluate, document.where(("variants", name)))
        _primary(study, name, recipes[name], evaluate, document)
    return LoadedStudy(study, document, file, plain, recipes, settings, evaluate, profile)


def _read(document: Document) -> Study:
    """The study as its file has it, without its recipe."""
    if not isinstance(document.value, dict):
        found = "empty" if document.value is None else "not a mapping"
        raise AccordError(f"the file is {found}", document.name, FILE)
    if "stages" in document.value:
        what = "this is a recipe, not a study"
        raise AccordError(what, document.where(("stages",)), f"run it with accord run; {FILE}")
    study: Study = validate(Study, document)
    for name, given in study.variants.items():
        _refuse_seed(f"variant '{name}'", given, document.where(("variants", name, "seed")))
    for name, profile in study.profiles.items():
        place = ("profiles", name)
        _refuse_seed(f"profile '{name}'", profile.settings, document.where((*place, "settings")))
        for variant in profile.variants or ():
            if variant not in study.variants:
                what = f"profile '{name}' names a variant '{variant}', which the study has not"
                near = did_you_mean(variant, study.variants)
                raise AccordError(what, document.where((*place, "variants")), near)
    return study


def _profile(study: Study, name: str, document: Document) -> Profile:
    """The profile of a name; empty: the study's own size."""
    if not name:
        return Profile()
    if name not in study.profiles:
        what = f"the study has no profile '{name}'"
        fix = did_you_mean(name, study.profiles) if study.profiles else "add it under profiles:"
        raise AccordError(what, document.where(("profiles",)), fix)
    return study.profiles[name]


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


def _primary(study: Study, variant: str, recipe: Recipe, evaluate: str, document: Document) -> None:
    """Before hours of training: every variant's evaluation has the primary scorers."""
    stage = recipe.stages[evaluate]
    if not isinstance(stage, EvaluateStage):
        raise TypeError(f"{evaluate} is no evaluate stage")
    scorers = [*stage.scorers, *stage.rewards]
    for name in study.primary:
        if name not in scorers:
            what = f"'{evaluate}' has no scorer '{name}' under variant '{variant}'"
            raise AccordError(what, document.where(("primary",)), did_you_mean(name, scorers))


def _refuse_seed(whose: str, given: Settings, where: str) -> None:
    if "seed" in given:
        fix = "list seeds under seeds:; they run every variant"
        raise AccordError(f"{whose} sets the recipe's seed", where, fix)


def _lines(given: Settings) -> list[str]:
    """Settings as they are written on a command line."""
    return [f"{key}={written(value)}" for key, value in given.items()]


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


def _recipe(file: Path, settings: Sequence[str], evaluate: str, where: str) -> Recipe:
    """The recipe under settings of the study's file; mistakes name their place there too."""
    try:
        recipe = load_recipe(file, settings)
    except AccordError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise AccordError(error.what, place, error.fix) from None
    stage = recipe.stages.get(evaluate)
    if stage is None or stage.kind != "evaluate":
        what = f"under these settings '{evaluate}' is no evaluate stage: it is what is compared"
        raise AccordError(what, where, "leave its kind as it is")
    return recipe
