"""`accord push`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(push)


def push(
    folder: Annotated[Path, typer.Argument(help="Model folder with a model card.")],
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make it private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Upload a model folder to the Hugging Face hub.

    Shows every file with its size and asks first. Needs a login (hf auth login).
    """
    from accord.pipeline.push import push as pushed
    from accord.pipeline.push import upload_of

    upload = upload_of(folder)
    print("\n".join(upload.lines()))
    if not yes:
        typer.confirm(f"upload to {name}{' (private)' if private else ''}?", abort=True)
    print(pushed(upload, name, private))
