"""`accord compare`: two runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.checks import Json


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(compare)


def compare(
    a: Annotated[str, typer.Argument(help="A run's folder, report.json or a stage's folder.")],
    b: Annotated[str, typer.Argument(help="Another; of a study's runs: STUDY#VARIANT/SEED.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Writes compare.html and compare.json there.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two runs.

    What differs in settings, data and machine; scores, paired where both were evaluated alike;
    training, held-out figures, findings and samples side by side.
    """
    import json as encoder
    from shutil import get_terminal_size

    from accord.evaluation.compare.text import screen
    from accord.pipeline.compare import compare as compared

    found = compared(a, b, out)
    if json:
        print(encoder.dumps(found, indent=2, ensure_ascii=False))
        return
    print("\n".join(screen(found, get_terminal_size((120, 24)).columns)))
    if out is not None:
        print(f"\nreport  {out / 'compare.html'}")
