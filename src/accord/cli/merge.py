"""`accord merge`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(merge)


def merge(
    adapter: Annotated[str, typer.Argument(help="Folder of an adapter, or hub:owner/name.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the whole model.")],
) -> None:
    """Merge a LoRA adapter into its base model.

    Writes a whole Hugging Face folder in the base's precision, with tokenizer and model card.
    """
    from accord.pipeline.execute import machine_threads
    from accord.pipeline.merge import merge as merged

    machine_threads()
    print(merged(adapter, out))
