"""How large a recipe is before it runs: parameters, tokens and bytes of every stage. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from accord.config.load import load_recipe
from accord.config.model import PRESETS, ModelConfig
from accord.config.parameters import count_parameters
from accord.config.preference import PreferenceStage
from accord.config.recipe import Recipe
from accord.config.reward import RewardStage
from accord.config.stages import TokenizerStage
from accord.config.study import written
from accord.config.train import TrainConfig
from accord.errors import AccordError, did_you_mean
from accord.pipeline import graph
from accord.pipeline.footprint import Footprint, footprint, stage_width


@dataclass(frozen=True)
class Sized:
    """One stage that trains.

    Args:
        name: In the recipe.
        kind: Of the stage.
        total: Parameters of its model.
        active: Those that work on one token.
        steps: Optimiser steps; none: as many as its epochs have.
        epochs: Passes over its rows, where those say its length.
        step_tokens: Tokens an optimiser step at most, over all ranks.
        bytes: What each rank holds.
    """

    name: str
    kind: str
    total: int
    active: int
    steps: int | None
    epochs: float | None
    step_tokens: int
    bytes: Footprint


@dataclass(frozen=True)
class Laid:
    """A recipe laid out, in a profile's size; `unknown` are stages whose model is not there yet."""

    name: str
    ranks: int
    stages: tuple[Sized, ...]
    unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)


def in_profile(path: Path, settings: Sequence[str], profile: str) -> Recipe:
    """A recipe in a profile's size; `settings` stand over the profile's.

    Raises:
        AccordError: Anything wrong with the recipe or a setting, or it has no such profile.
    """
    recipe = load_recipe(path, settings)
    if not profile:
        return recipe
    if profile not in recipe.profiles:
        what = f"the recipe has no profile '{profile}'"
        fix = did_you_mean(profile, recipe.profiles) if recipe.profiles else "add it: profiles:"
        raise AccordError(what, str(path), fix)
    below = [f"{k}={written(value)}" for k, value in recipe.profiles[profile].settings.items()]
    sized = load_recipe(path, [*below, *settings])
    return sized.model_copy(update={"name": f"{recipe.name}-{profile}"})


def laid_out(path: Path, settings: Sequence[str], profile: str = "", ranks: int = 1) -> Laid:
    """Count a recipe's models and steps.

    Raises:
        AccordError: As `in_profile`; a profile states other counts of parameters.
    """
    recipe = in_profile(path, settings, profile)
    shapes = shapes_of(recipe)
    trained = {
        name: stage
        for name in graph.plan(recipe)
        if isinstance(stage := recipe.stages[name], TrainConfig)
    }
    stages = tuple(
        _sized(Task(name, recipe.stages[name].kind, stage), shape, ranks)
        for name, stage in trained.items()
        if (shape := shapes.get(name)) is not None
    )
    if profile:
        stated = recipe.profiles[profile]
        _check({s.name: s.total for s in stages}, stated.parameters, "parameters", path)
        _check({s.name: s.active for s in stages}, stated.active_parameters, "active", path)
    known = {stage.name for stage in stages}
    return Laid(recipe.name, ranks, stages, tuple(name for name in trained if name not in known))


def shapes_of(recipe: Recipe) -> dict[str, ModelConfig]:
    """Shape of every stage's model: as described, or that of what it starts from.

    A tokenizer is taken to have as many tokens as its stage may give it.
    """
    found: dict[str, ModelConfig] = {}
    for name in graph.plan(recipe):
        stage = recipe.stages[name]
        start: str | None = getattr(stage, "from_", None)
        tokens = getattr(stage, "tokenizer", None)
        if start is not None:
            shape = found.get(start) or _outside(start)
        elif isinstance(tokens, str):
            shape = _described(stage, recipe, tokens)
        else:
            continue
        if shape is not None:
            found[name] = shape
    return found


def _described(stage: Any, recipe: Recipe, tokenizer: str) -> ModelConfig | None:
    made = recipe.stages.get(tokenizer)
    outside = None if made else _outside(tokenizer)
    rows = made.vocab_size if isinstance(made, TokenizerStage) else None
    rows = outside.vocab_size if outside else rows
    if rows is None:
        return None
    shape = {key: value for key, value in stage.model.items() if key != "preset"}
    preset = PRESETS[stage.model.get("preset", "llama")]
    return ModelConfig.model_validate({**preset, **shape, "vocab_size": rows}, strict=False)


def _outside(name: str) -> ModelConfig | None:
    """The shape of a model folder on this machine; none where it is not there, or no model."""
    from accord.checkpoint.folder import load_config  # noqa: PLC0415  (loads torch)

    folder = Path(name).expanduser()
    return load_config(folder) if (folder / "config.json").is_file() else None


class Task(NamedTuple):
    """A stage that trains, by its name and kind."""

    name: str
    kind: str
    stage: TrainConfig


def _sized(task: Task, shape: ModelConfig, ranks: int) -> Sized:
    stage = task.stage
    total, active = count_parameters(shape)
    if isinstance(stage, RewardStage):
        # a score of one number in place of a head
        head = 0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size
        total, active = (count - head + shape.hidden_size for count in (total, active))
    sides = 2 if isinstance(stage, PreferenceStage | RewardStage) else 1
    rows = stage.micro_batch_size or -(-stage.batch_size // ranks)
    tokens = stage.micro_batch_tokens or rows * sides * stage.max_length
    step = stage.batch_size * sides * stage.max_length
    held = footprint(shape, total, stage, tokens, ranks)
    if getattr(stage, "lora", None) is not None:
        # the base is held once, in what computes; an adapter's own weights are few
        held = held._replace(weights=total * stage_width(stage), gradients=0, optimizer=0)
    return Sized(task.name, task.kind, total, active, stage.steps, stage.epochs, step, held)


def _check(found: Mapping[str, int], stated: Mapping[str, int], what: str, path: Path) -> None:
    for name, count in stated.items():
        if found.get(name) != count:
            has = f"{found[name]:,}" if name in found else "no known number of"
            told = f"stage '{name}' has {has} {what}, its profile states {count:,}"
            raise AccordError(told, str(path), "mend the shape or the number")


def text(laid: Laid) -> str:
    """The table that `accord plan` prints."""
    head = ["stage", "kind", "parameters", "active", "steps", "tokens a step", "tokens",
            "weights", "gradients", "optimiser", "activations"]  # fmt: skip
    rows = [head, *(_row(stage) for stage in laid.stages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    held = "bytes are those of each rank" if laid.ranks > 1 else "bytes are those of one rank"
    notes = [f"recipe {laid.name}, {laid.ranks} rank{'s' * (laid.ranks > 1)}", "", *lines, ""]
    notes.append(f"tokens are at most; {held}, activations about; models beside the trained one")
    notes.append("(references of PPO and GRPO, critics, judges) and adapters are not in them")
    if laid.unknown:
        notes.append(f"not counted, their model is not on this machine: {', '.join(laid.unknown)}")
    return "\n".join(notes)


def _row(stage: Sized) -> list[str]:
    steps = str(stage.steps) if stage.steps else f"{stage.epochs:g} epochs"
    whole = f"{stage.steps * stage.step_tokens:,}" if stage.steps else "?"
    parts = (getattr(stage.bytes, key) for key in Footprint.__annotations__)
    counts = [f"{stage.total:,}", f"{stage.active:,}", steps, f"{stage.step_tokens:,}", whole]
    return [stage.name, stage.kind, *counts, *(_size(part) for part in parts)]


def _size(count: int) -> str:
    for unit, each in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= each:
            return f"{count / each:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
