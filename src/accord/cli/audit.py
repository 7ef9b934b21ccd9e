"""`accord audit`: what a reward model may be used to conclude."""

from pathlib import Path
from typing import Annotated

import typer

PROBLEMS = 1


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(audit)


def audit(
    model: Annotated[str, typer.Argument(help="Folder of a reward model, or hub:owner/name.")],
    data: Annotated[list[str], typer.Option("--data", help="Held-out pairs; may be given again.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Writes audit.json and audit.md there.")
    ] = None,
    rating: Annotated[
        str | None, typer.Option("--rating", help="Column of rated texts, to be made pairs of.")
    ] = None,
    gap: Annotated[
        float | None, typer.Option("--gap", help="Smallest difference of ratings in a pair.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option("--truth", help="Column that says what is truly better.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=1, help="Tokens; none: as it was trained.")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="At most so many.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Audit a reward model.

    Measures accuracy, calibration, what the score goes by, what it must not react to and what it
    must notice, each with its interval; says what may be concluded from it, and what not.

    Exit code 1 if the verdict names a problem.
    """
    import json as encoder

    from accord.evaluation.audit.text import screen
    from accord.pipeline.audit import audit as audited
    from accord.pipeline.execute import machine_threads

    machine_threads()
    found = audited(model, data, out, rating, gap, truth, max_length, pairs)
    said = encoder.dumps(found, indent=2, ensure_ascii=False) if json else "\n".join(screen(found))
    print(said)
    grave = any(finding["severity"] == "problem" for finding in found["verdict"])
    raise typer.Exit(PROBLEMS if grave else 0)
