"""`accord study`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from accord.pipeline.study_plan import Plan

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
        Path | None,
        typer.Option("--out", help="Folder of the study; default runs/<name>[-<profile>]."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Size of the study, one of its profiles.")
    ] = "",
    fast: Annotated[bool, typer.Option("--fast", help="Short for --profile fast.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="List stage folders that no variant names; run nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --prune: delete them.")] = False,
) -> None:
    """Run variants of a recipe with several seeds and compare them.

    Stages that variants and seeds share run once; what stands is reused.
    """
    import shlex
    import sys

    from accord.config.study import load_study
    from accord.errors import AccordError
    from accord.pipeline import study as studies
    from accord.pipeline.memory import parse_bytes
    from accord.pipeline.study_plan import text

    command = shlex.join(["accord", *sys.argv[1:]])
    held = None if memory is None else parse_bytes(memory)
    setting = studies.StudySetting(workers, held, command=command)
    if fast and profile:
        raise AccordError("--fast is a profile too", f"--profile {profile}", "give one of them")
    if yes and not prune:
        raise AccordError("--yes has nothing to agree to", "--yes", "give it with --prune")
    loaded = load_study(file, "fast" if fast else profile)
    if prune:
        _prune(studies.plan(loaded, out, setting), yes)
        return
    if plan:
        print(text(studies.plan(loaded, out, setting)))
        return
    try:
        studies.run(loaded, out, setting)
    except studies.StudyStopped as stopped:
        print(f"{stopped}\n  resume: {command}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _prune(laid: "Plan", agreed: bool) -> None:
    """List what no variant names; delete it where that was agreed to."""
    from accord.pipeline import study_prune

    if agreed:
        print(study_prune.text(study_prune.delete(laid), "deleted"))
    else:
        print(study_prune.text(study_prune.stale(laid), "nothing deleted; --prune --yes deletes"))
