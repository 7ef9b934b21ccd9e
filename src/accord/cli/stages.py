"""`accord run` and the single stages."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.planning import Profile, plan

if TYPE_CHECKING:
    from accord.config.stages import StageConfig

TAKES_SETTINGS = frozenset(
    {"run", "plan", "tokenizer", "pretrain", "sft", "reward", "dpo", "evaluate"}
)

Settings = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings, the last word.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it is the result.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="YAML file with the stage's settings.")
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", help="File, folder or hub:owner/name; may be repeated."),
]
Model = Annotated[
    str | None, typer.Option("--model", help="Model folder or hub:owner/name to start from.")
]
Ranks = Annotated[
    int, typer.Option("--ranks", min=1, help="Processes that share a training stage.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (run, plan, tokenizer, pretrain, sft, reward, dpo, evaluate):
        app.command()(command)


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe's YAML file.")],
    settings: Settings = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Run this stage and what it needs.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; default runs/<name>.")
    ] = None,
    profile: Profile = "",
    ranks: Ranks = 1,
) -> None:
    """Run a recipe's stages and write its report.

    Finished stages are reused: only what a change touches runs again.

    Settings are dotted paths: dpo.beta=0.3 seed=2
    """
    from accord.pipeline.execute import Setting
    from accord.pipeline.plan import in_profile
    from accord.pipeline.run import run as run_recipe

    loaded = in_profile(recipe, settings or [], profile)
    size = ["--profile", profile] if profile else []
    command = _command(["run", str(recipe), *size, *(settings or [])])
    run_recipe(loaded, out, stage, Setting(loaded.seed, ranks=ranks), command)


def tokenizer(
    out: Out,
    data: Data = None,
    config: Config = None,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    settings: Settings = None,
) -> None:
    """Train a byte-level BPE tokenizer on text.

    Defaults: vocab_size=4096 pattern=gpt4 chat_template=plain
    """
    single("tokenizer", {"data": sources(data)}, out, config, settings, seed=seed)


def pretrain(
    out: Out,
    data: Data = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Train from scratch with this one.")
    ] = None,
    model: Model = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Train a model on text.

    From scratch with --tokenizer, or on from a model with --model.

    Defaults: epochs=1 lr=3e-4 batch_size=32 max_length=512 warmup_ratio=0.02; the shape is
    model.preset=llama with model.hidden_size=256 model.num_hidden_layers=4
    """
    given = {"data": sources(data), "tokenizer": tokenizer, "from": model}
    single("pretrain", given, out, config, settings, ranks)


def sft(
    out: Out,
    model: Model = None,
    data: Data = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Fine-tune a model on prompts and responses.

    Defaults, for a model that is trained already: epochs=2 lr=2e-5 batch_size=16
    warmup_ratio=0.03 max_length=1024, or less where the model reads less
    """
    single("sft", {"data": sources(data), "from": model}, out, config, settings, ranks)


def reward(
    out: Out,
    model: Model = None,
    data: Data = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Train from scratch with this one.")
    ] = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Train a reward model on preferences.

    It starts from a model's trunk with --model, or from scratch with --tokenizer.

    Defaults, for a model that is trained already: epochs=1 lr=1e-5 architecture=causal
    batch_size=32 warmup_ratio=0.05 max_length=1024, or less where the model reads less; a small
    model wants a higher rate: lr=1e-3
    """
    given = {"data": sources(data), "from": model, "tokenizer": tokenizer}
    single("reward", given, out, config, settings, ranks)


def dpo(
    out: Out,
    model: Model = None,
    data: Data = None,
    config: Config = None,
    ranks: Ranks = 1,
    settings: Settings = None,
) -> None:
    """Align a model with preferences (DPO).

    DPO and its family, against the starting model itself, frozen.

    Defaults, for a model that is trained already: epochs=1 lr=1e-6 beta=0.1 loss=sigmoid
    batch_size=16 warmup_ratio=0.1 max_length=1024, or less where the model reads less; a small
    model wants a higher rate: lr=1e-4
    """
    single("preference", {"data": sources(data), "from": model}, out, config, settings, ranks)


def evaluate(
    out: Out,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Model to compare; may be repeated.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Default: the first model.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="A prompt; may be repeated.")
    ] = None,
    data: Data = None,
    config: Config = None,
    settings: Settings = None,
) -> None:
    """Compare models and write report.html.

    Every model answers the same prompts; the answers are scored and compared.

    Defaults: scorers=[length, fluency] samples_per_prompt=1 sampling.temperature=1.0
    """
    from accord.pipeline.single import evaluation

    given = evaluation(model or [], reference, prompt or [], data or [])
    single("evaluate", given, out, config, settings)


def single(
    kind: str,
    given: dict[str, Any],
    out: Path,
    config: Path | None,
    settings: list[str] | None,
    ranks: int = 1,
    seed: int = 1,
) -> None:
    """Run one stage with the settings that a command's options stand for."""
    from accord.pipeline.execute import Setting
    from accord.pipeline.run import run_single
    from accord.pipeline.single import stage_settings

    stage: StageConfig = stage_settings(kind, given, settings or [], config)
    run_single(stage, out, Setting(seed, ranks=ranks), _command())


def sources(files: list[str] | None) -> list[dict[str, str]]:
    """The `data` that files and hub names stand for."""
    from accord.pipeline.single import data_sources

    return data_sources(files or [])


def _command(words: list[str] | None = None) -> str:
    import shlex
    import sys

    return shlex.join(["accord", *(sys.argv[1:] if words is None else words)])
