"""`accord serve`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(serve)


def serve(
    models: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Model folders, or hub:owner/name."),
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; others need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="ACCORD_API_KEY",
            show_envvar=False,
            help="What requests must bear; better set as ACCORD_API_KEY, which `ps` does not show.",
        ),
    ] = None,
    preferences: Annotated[
        str, typer.Option("--preferences", help="File that the page's preferences go to.")
    ] = "preferences.jsonl",
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=1024, help="Completions decoded at a time.")
    ] = 64,
    queue: Annotated[
        int, typer.Option("--queue", min=0, max=65536, help="Completions that may wait.")
    ] = 64,
    max_length: Annotated[
        int,
        typer.Option("--max-length", min=2, help="Tokens of prompt and completion at most."),
    ] = 2048,
) -> None:
    """Serve models: OpenAI's interface at /v1, a chat page at /.

    The page shows the answers of all models to the same prompt side by side.
    """
    from accord.pipeline.execute import machine_threads
    from accord.serve.run import serve as serve_models
    from accord.serve.served import Capacity

    machine_threads()
    capacity = Capacity(slots, queue, max_length)
    serve_models(models, host, port, api_key, preferences, capacity)
