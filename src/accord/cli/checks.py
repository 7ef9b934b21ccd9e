"""`accord schema`, `accord report`, `accord doctor` and `accord data check`."""

from pathlib import Path
from typing import Annotated

import typer

PROBLEMS = 1
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (schema, report, doctor):
        app.command()(command)
    data = typer.Typer(help="Look at data before a model sees it.", no_args_is_help=True)
    data.command("check")(check)
    data.callback()(lambda: None)  # keeps `check` a word of its own while it is the only one
    app.add_typer(data, name="data")


def schema() -> None:
    """Print the JSON schema of recipes.

    Editors that know it check a recipe as it is typed.
    """
    import json

    from accord.config.load import schema as recipe_schema

    print(json.dumps(recipe_schema(), indent=2))


def report(run: Annotated[Path, typer.Argument(help="Folder of a run, with report.json.")]) -> None:
    """Draw report.html again from report.json."""
    from accord.pipeline.publish import rerender

    print(rerender(run))


def doctor(
    json: Json = False,
    network: Annotated[bool, typer.Option("--network", help="Also try to reach the hub.")] = False,
) -> None:
    """Look at hardware, libraries and threads.

    Measures products with one thread and several, and advises.
    Exit code 1 if something stops Accord from working.
    """
    from accord.cli.doctor import examine, lines

    findings = examine(network)
    _print(findings, lines(findings), json)
    raise typer.Exit(PROBLEMS if findings["problems"] else 0)


def check(
    file: Annotated[
        str, typer.Argument(help="File, folder, hub:owner/name, pypi: or task: source.")
    ],
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Folder; counts tokens with it.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=1, help="Counts longer rows.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a data file.

    Names its format, counts its rows, measures their lengths and lists the bad ones.

    Exit code 0 if every row can be used, 1 if not, 2 if the file cannot be read at all.
    """
    import os

    from accord.data.check import check_file
    from accord.data.pypi import default_cache
    from accord.text import Tokenizer

    counter = Tokenizer.load(tokenizer) if tokenizer else None
    found = check_file(file, default_cache(os.environ), counter, max_length)
    _print(found.to_json(), found.lines(), json)
    raise typer.Exit(0 if found.ok else PROBLEMS)


def _print(value: object, lines: list[str], as_json: bool) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))
