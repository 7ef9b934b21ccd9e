"""`accord convert`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(convert)


def convert(
    model: Annotated[str, typer.Argument(help="Model folder or hub:owner/name.")],
    to: Annotated[Literal["int8", "int4", "gguf"], typer.Option("--to", help="The format.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; none: beside the model.")
    ] = None,
    storage: Annotated[
        Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"],
        typer.Option("--type", help="How GGUF stores matrices."),
    ] = "f16",
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Measure on this; none: rows held out of its training."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Write a model as int8, int4 (torchao) or GGUF (llama.cpp).

    What was written is read back and measured beside the model it came from.
    """
    import json as encoder

    from accord.pipeline.convert import convert as converted
    from accord.pipeline.execute import machine_threads

    machine_threads()
    found = converted(model, to, out, storage, data or [])
    print(encoder.dumps(found, indent=2, ensure_ascii=False) if json else table(found))


def table(found: Mapping[str, Any]) -> str:
    """A conversion's figures as a few aligned lines."""
    before, after = found["bytes_before"], found["bytes"]
    rows = [
        ("", "bytes", "perplexity", "change", "greedy agreement", "max logit difference"),
        (
            "before",
            f"{before:,}" if before else "",
            f"{found['perplexity_before']:.4f}",
            "",
            "",
            "",
        ),
        (
            found["format"],
            f"{after:,}",
            f"{found['perplexity']:.4f}",
            f"{found['perplexity_change']:+.4f}",
            f"{found['greedy_agreement']:.4f}",
            f"{found['max_logit_difference']:.3g}",
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]
    told = f"{found['tokens']:,} tokens of {found['texts']}"
    return "\n".join([*lines, told, *found["notes"], found["path"]])
