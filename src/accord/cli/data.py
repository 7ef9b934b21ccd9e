"""`accord data check`: what a file holds, before a model sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from accord.data.check import Check
    from accord.text import Tokenizer

PROBLEMS = 1


def register(app: typer.Typer) -> None:
    """Add the group of this file."""
    data = typer.Typer(help="Look at data before a model sees it.", no_args_is_help=True)
    data.command("check")(check)
    data.callback()(lambda: None)  # keeps `check` a word of its own while it is the only one
    app.add_typer(data, name="data")


def check(
    file: Annotated[
        str, typer.Argument(help="File, folder, hub:owner/name, pypi: or task: source.")
    ],
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder of the model: counts and renders.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=1, help="Says what it would cut and drop.")
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option("--chat-template", help="Name; none: the tokenizer's own.")
    ] = None,
    train_on: Annotated[
        Literal["last", "all"], typer.Option("--train-on", help="Assistant turns that carry loss.")
    ] = "last",
    against: Annotated[
        str | None, typer.Option("--against", help="Evaluation file, to look for its prompts.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="Hash of the archive of pypi: sources.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Name, column:NAME or detect; counts rows.")
    ] = None,
    strings: Annotated[
        Literal["text", "turns"],
        typer.Option("--strings", help="What plain strings are: text, or turns of a chat."),
    ] = "text",
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows to show.")] = 3,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings give exit code 1.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Check a data file.

    Names its format, counts its rows, measures their lengths, lists the bad ones, says what
    training would suffer from, and shows rows as training sees them.

    Exit code 0 if every row can be used, 1 if not, 2 if the file cannot be read at all.
    """
    import os

    from accord.data.check import check_file, named_source
    from accord.data.pypi import default_cache

    source = named_source(file, sha256, language, strings)
    cache = default_cache(os.environ)
    evaluation = named_source(against, sha256) if against else None
    reader = _tokenizer(tokenizer, chat_template)
    found = check_file(source, cache, reader, max_length, evaluation, rows, train_on)
    _print(found, json)
    raise typer.Exit(PROBLEMS if not found.ok or (strict and found.count("warning")) else 0)


def _tokenizer(folder: Path | None, chat_template: str | None) -> "Tokenizer | None":
    from accord.data.check import for_training
    from accord.errors import AccordError
    from accord.text import Tokenizer

    if folder is not None:
        return for_training(Tokenizer.load(folder), chat_template)
    if chat_template is not None:
        raise AccordError(
            "A chat template is rendered by a tokenizer.", "--chat-template", "give --tokenizer DIR"
        )
    return None


def _print(found: "Check", as_json: bool) -> None:
    import json

    from rich.console import Console

    from accord.data.check.report import report

    if as_json:
        said = json.dumps(found.to_json(), indent=2, ensure_ascii=False)
        # a column's name may hold half of a surrogate pair, which is no text but good JSON
        print(said.encode("utf-8", "backslashreplace").decode())
    else:
        console = Console(highlight=False, markup=False, emoji=False)
        marks = console.no_color or not console.is_terminal
        console.print(report(found, marks, console.width))
