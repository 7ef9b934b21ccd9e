"""`accord schema`, `accord report` and `accord doctor`."""

from pathlib import Path
from typing import Annotated

import typer

PROBLEMS = 1
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (schema, report, doctor):
        app.command()(command)


def schema() -> None:
    """Print the JSON schema of recipes.

    Editors that know it check a recipe as it is typed.
    """
    import json

    from accord.config.load import schema as recipe_schema

    print(json.dumps(recipe_schema(), indent=2))


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a study, or its report.json.")],
) -> None:
    """Draw the page of a run or a study again from its numbers.

    report.html from report.json, study.html from study_report.json.
    """
    from accord.pipeline.publish import rerender

    for page in rerender(run):
        print(page)


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


def _print(value: object, lines: list[str], as_json: bool) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))
