"""`accord study`."""

from pathlib import Path
from typing import Annotated

import typer

INTERRUPTED = 75


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(study)


def study(
    file: Annotated[Path, typer.Argument(help="The study's YAML file.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would run and what stands; run nothing.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Stages at a time; default one a core.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", help="Of all workers, such as 12GB; default 80 % of what is free."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; default runs/<name>.")
    ] = None,
) -> None:
    """Run variants of a recipe with several seeds and compare them.

    Stages that variants and seeds share run once; what stands is reused.
    """
    import shlex
    import sys

    from accord.config.study import load_study
    from accord.pipeline import study as studies
    from accord.pipeline.memory import parse_bytes
    from accord.pipeline.study_plan import text

    command = shlex.join(["accord", *sys.argv[1:]])
    held = None if memory is None else parse_bytes(memory)
    setting = studies.StudySetting(workers, held, command=command)
    loaded = load_study(file)
    if plan:
        print(text(studies.plan(loaded, out, setting)))
        return
    try:
        studies.run(loaded, out, setting)
    except studies.StudyStopped as stopped:
        print(f"{stopped}\n  resume: {command}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
