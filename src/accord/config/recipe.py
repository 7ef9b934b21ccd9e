"""A recipe: named stages, a seed, a name."""

from typing import Annotated

from pydantic import Field

from accord.config.base import Strict
from accord.config.profiles import RecipeProfile
from accord.config.stages import StageConfig

StageName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""No dots: a stage's name starts the dotted path of an override."""


class Recipe(Strict):
    """A whole pipeline; stages run in the order that their inputs demand."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder of the run below `runs/`."""
    title: str = ""
    """Heading of the report."""
    description: str = ""
    """A paragraph for the report."""
    seed: int = 1
    """Seed of every stage that sets none."""
    stages: dict[StageName, StageConfig] = Field(min_length=1)
    """Name to settings; a stage writes into the folder of its name."""
    profiles: dict[StageName, RecipeProfile] = Field(default_factory=dict, exclude=True)
    """Other sizes of the same recipe: `accord plan --profile NAME` lays one out."""
