"""Every recipe that ships is one that can be read."""

from pathlib import Path

import pytest

from accord.config.load import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_is_read(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.stages
