"""`accord explain`."""

from typing import Annotated

import typer

from accord.cli.checks import Json

WIDEST = 100


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(explain)


def explain(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A metric, a recipe key, a loss or a kind of stage; dpo.beta: in that stage."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every metric and setting, as a Markdown page.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what a metric or a setting is.

    What it is, which values are healthy, what others mean and what to try.

    Without a name: all names, by subject.
    """
    from dataclasses import asdict
    from json import dumps
    from shutil import get_terminal_size

    from accord.explain.catalogue import catalogue, page
    from accord.explain.names import meanings
    from accord.explain.text import lines, listing

    if everything:
        print(page(), end="")
        return
    said = catalogue() if name is None else meanings(name)
    width = min(WIDEST, get_terminal_size().columns)
    if json:
        plain = said if isinstance(said, dict) else [asdict(meaning) for meaning in said]
        print(dumps(plain, indent=2, ensure_ascii=False))
    else:
        shown = listing(said, width) if isinstance(said, dict) else lines(said, width)
        print("\n".join(shown))
