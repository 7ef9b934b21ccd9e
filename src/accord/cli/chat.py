"""`accord chat`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(chat)


def chat(
    model: Annotated[str, typer.Argument(metavar="DIR", help="Model folder, or hub:owner/name.")],
    system: Annotated[str | None, typer.Option("--system", help="The system turn.")] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="0 is greedy.")] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k", help="0 is off.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p")] = 1.0,
    min_p: Annotated[float, typer.Option("--min-p")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens")] = 512,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="Text that ends an answer; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same text.")] = 1,
) -> None:
    """Talk with a model.

    Ctrl-C stops an answer, Ctrl-D leaves, /help names the commands.
    """
    import sys

    from accord.pipeline.execute import machine_threads
    from accord.pipeline.generate import load
    from accord.pipeline.single import sampling_settings
    from accord.serve.served import chat_engine, names
    from accord.serve.terminal import Conversation, greeting
    from accord.serve.terminal import chat as talk

    sampling = sampling_settings(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        max_new_tokens=max_new_tokens,
        stop=stop or [],
    )
    machine_threads()
    conversation = Conversation(chat_engine(*load(model)), sampling, seed, system)
    if sys.stdin.isatty():
        import readline  # noqa: F401 (lines can be edited)

        print(greeting(names([model])[0]), file=sys.stderr)

    def show(text: str) -> None:
        print(text, end="", flush=True)

    talk(conversation, lambda: input("> " if sys.stdin.isatty() else ""), show)
