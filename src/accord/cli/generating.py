"""`accord generate`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from accord.rollout.requests import Completion


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(generate)


def generate(
    model: Annotated[str, typer.Option("--model", help="Model folder or hub:owner/name.")],
    prompt: Annotated[
        list[str],
        typer.Option("--prompt", help="Text to go on from; may be repeated; '-' reads stdin."),
    ],
    preset: Annotated[
        Literal["creative", "factual"] | None,
        typer.Option("--preset", help="Sampling by name; options beside it go first."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 is greedy; none: 1.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="0 is off.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p")] = None,
    min_p: Annotated[float | None, typer.Option("--min-p")] = None,
    repetition_penalty: Annotated[float | None, typer.Option("--repetition-penalty")] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option("--no-repeat-ngram-size", help="0 is off.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens")] = 64,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="Text that ends it; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same text.")] = 1,
    count: Annotated[int, typer.Option("--count", min=1, help="Completions of each prompt.")] = 1,
    chat: Annotated[
        bool, typer.Option("--chat", help="Answer as the chat template's assistant.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a completion.")] = False,
) -> None:
    """Let a model write.

    Prints prompt and completion, or with --json also ids and log-probabilities.
    """
    from accord.config.generate import PRESETS
    from accord.pipeline.single import sampling_settings

    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "max_new_tokens": max_new_tokens,
        "stop": stop or [],
    }
    said = {key: value for key, value in given.items() if value is not None}
    sampling = sampling_settings(**{**(PRESETS[preset] if preset else {}), **said})
    prompts = [text for text in _read(prompt) for _ in range(count)]
    from accord.pipeline.execute import machine_threads
    from accord.pipeline.generate import complete, load

    machine_threads()
    done = complete(*load(model), prompts, sampling, seed, chat)
    for index, (text, completion) in enumerate(zip(prompts, done, strict=True)):
        if json:
            _print_json(text, seed + index, completion)
        else:
            print(completion.text if chat else text + completion.text)


def _read(prompts: list[str]) -> list[str]:
    import sys

    return [sys.stdin.read() if text == "-" else text for text in prompts]


def _print_json(prompt: str, seed: int, completion: "Completion") -> None:
    import json
    from dataclasses import asdict

    fields = {"prompt": prompt, "seed": seed, **asdict(completion)}
    print(json.dumps(fields, ensure_ascii=False))
