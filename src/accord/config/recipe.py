"""A recipe: named stages, a seed, a name."""

from pydantic import Field

from accord.config.base import Strict
from accord.config.stages import StageConfig


class Recipe(Strict):
    """A whole pipeline; stages run in the order that their inputs demand."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    """Heading of the report."""
    description: str = ""
    seed: int = 1
    stages: dict[str, StageConfig] = Field(min_length=1)
