"""Other sizes of a recipe: settings by dotted path, and how large its models then are."""

from typing import Any

from pydantic import Field

from accord.config.base import Strict


class RecipeProfile(Strict):
    """Another size of a recipe, chosen with --profile."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Values by dotted path, such as {base.steps: 100000}; they stand over the recipe's own."""
    parameters: dict[str, int] = Field(default_factory=dict)
    """Stage to the parameters that its model is to have: `accord plan` refuses other counts."""
    active_parameters: dict[str, int] = Field(default_factory=dict)
    """Stage to the parameters that are to work on one token."""
