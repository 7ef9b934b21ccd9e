"""Every recipe that ships, and every study, is one that can be read."""

from pathlib import Path

import pytest

from accord.config.document import read_yaml
from accord.config.load import load_recipe
from accord.config.study import load_study

RECIPES = Path(__file__).parents[2] / "recipes"
SHIPPED = {path: read_yaml(path).value for path in sorted(RECIPES.glob("*.yaml"))}
PROFILES = [
    (path, profile)
    for path, value in SHIPPED.items()
    if "recipe" in value
    for profile in ("", *value.get("profiles", {}))
]


@pytest.mark.parametrize(
    "path", [path for path, value in SHIPPED.items() if "stages" in value], ids=lambda p: p.stem
)
def test_a_recipe_is_read(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.stages


@pytest.mark.parametrize(
    ("path", "profile"), PROFILES, ids=lambda part: getattr(part, "stem", part) or "default"
)
def test_a_study_is_read_in_every_profile(path, profile):
    study = load_study(path, profile)
    assert study.recipes
