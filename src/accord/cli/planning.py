"""`accord plan`."""

import json
from pathlib import Path
from typing import Annotated

import typer

Profile = Annotated[str, typer.Option("--profile", help="Size of the recipe, one of its profiles.")]


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe's YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings, the last word.")
    ] = None,
    profile: Profile = "",
    ranks: Annotated[
        int, typer.Option("--ranks", min=1, help="Processes that share a training stage.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how large a recipe's models and steps are; run nothing.

    Parameters, tokens a step and bytes of weights, gradients, optimiser and activations, of every
    stage that trains. Exit 2 where a profile states other counts.
    """
    from accord.pipeline.plan import laid_out, text

    laid = laid_out(recipe, settings or [], profile, ranks)
    print(json.dumps(laid.to_json(), indent=1) if as_json else text(laid))
