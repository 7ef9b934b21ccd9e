"""The order that inputs demand of stages."""

from collections.abc import Mapping

from accord.config.recipe import Recipe
from accord.config.stages import StageConfig
from accord.errors import AccordError, did_you_mean


def order(stages: Mapping[str, StageConfig], wanted: str | None = None) -> list[str]:
    """Names of stages, each after its inputs and otherwise as the recipe has them.

    Args:
        stages: Free of cycles, as `config.load` leaves them.
        wanted: Leave out what this stage does not need; none: all stages.
    """
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in found or name not in stages:
            return
        for source in stages[name].inputs():
            visit(source)
        found[name] = None

    for name in stages if wanted is None else (wanted,):
        visit(name)
    return list(found)


def plan(recipe: Recipe, wanted: str | None = None) -> list[str]:
    """The stages of a recipe in the order they run.

    Raises:
        AccordError: The recipe has no stage `wanted`.
    """
    if wanted is not None and wanted not in recipe.stages:
        what = f"the recipe '{recipe.name}' has no stage '{wanted}'"
        raise AccordError(what, f"--stage {wanted}", did_you_mean(wanted, recipe.stages))
    return order(recipe.stages, wanted)
