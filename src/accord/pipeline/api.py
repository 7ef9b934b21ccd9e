"""The Python API: the same runner as the commands, called by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.config.recipe import Recipe
from accord.config.study import load_study
from accord.pipeline import run as runner
from accord.pipeline import study as studies
from accord.pipeline.execute import Setting
from accord.pipeline.single import data_sources, evaluation, reward_terms, stage_settings

Paths = str | Path | Sequence[str | Path]


def run(
    recipe: Recipe, out: str | Path | None = None, stage: str | None = None, ranks: int = 1
) -> Path:
    """Run a recipe, reusing stages whose results stand; gives the run's folder.

    Args:
        recipe: As `load_recipe` reads it.
        out: None: `runs/<recipe name>`.
        stage: Run only this one and what it needs.
        ranks: Processes of a training stage.
    """
    setting = Setting(recipe.seed, ranks=ranks)
    return runner.run(recipe, None if out is None else Path(out), stage, setting)


def study(
    file: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    memory: int | None = None,
    profile: str = "",
) -> Path:
    """Run a study's variants with all its seeds and compare them; gives the study's folder.

    Args:
        file: Its YAML file.
        out: None: `runs/<study name>[-<profile>]`.
        workers: Processes at a time; none: one a core.
        memory: Bytes that all of them may hold; none: 80 % of what is available.
        profile: One of the study's profiles; empty: its own size.
    """
    setting = studies.StudySetting(workers, memory)
    return studies.run(load_study(file, profile), None if out is None else Path(out), setting)


def tokenizer(data: Paths, out: str | Path, **settings: Any) -> Path:
    """Train a tokenizer on text; gives its folder."""
    return _single("tokenizer", {"data": _sources(data)}, out, settings)


def pretrain(
    data: Paths,
    out: str | Path,
    tokenizer: str | Path | None = None,
    model: str | Path | None = None,
    **settings: Any,
) -> Path:
    """Train on text from scratch with a tokenizer's folder, or on from a model's.

    The shape of a model from scratch is `shape={"preset": "llama", "hidden_size": 256, ...}`.
    """
    shape = settings.pop("shape", None)
    given = {"data": _sources(data), "tokenizer": tokenizer, "from": model, "model": shape}
    return _single("pretrain", given, out, settings)


def sft(model: str | Path, data: Paths, out: str | Path, **settings: Any) -> Path:
    """Fine-tune a model on prompts and responses; gives the new model's folder."""
    return _single("sft", {"from": model, "data": _sources(data)}, out, settings)


def dpo(model: str | Path, data: Paths, out: str | Path, **settings: Any) -> Path:
    """Align a model with preferences against itself, frozen; gives the new model's folder."""
    return _single("preference", {"from": model, "data": _sources(data)}, out, settings)


def reward(model: str | Path, data: Paths, out: str | Path, **settings: Any) -> Path:
    """Train a reward model on preferences from a model's trunk; gives its folder."""
    return _single("reward", {"from": model, "data": _sources(data)}, out, settings)


def ppo(model: str | Path, data: Paths, reward: Paths, out: str | Path, **settings: Any) -> Path:
    """Maximise a reward with PPO; gives the new model's folder.

    `reward` is reward functions by name, or folders of reward models.
    """
    return _policy("ppo", model, data, reward, out, settings)


def grpo(model: str | Path, data: Paths, reward: Paths, out: str | Path, **settings: Any) -> Path:
    """Maximise a reward with GRPO or one of its family; gives the new model's folder."""
    return _policy("grpo", model, data, reward, out, settings)


def online(model: str | Path, data: Paths, reward: Paths, out: str | Path, **settings: Any) -> Path:
    """Align a model with preferences between its own completions; gives the new model's folder."""
    return _policy("online", model, data, reward, out, settings)


def evaluate(
    models: Paths,
    out: str | Path,
    reference: str | Path | None = None,
    prompts: Sequence[str] = (),
    data: Paths = (),
    **settings: Any,
) -> Path:
    """Compare models with a reference (none: the first); gives the report's folder."""
    given = evaluation(
        _strings(models), None if reference is None else str(reference), prompts, _strings(data)
    )
    return _single("evaluate", given, out, settings)


def _policy(
    kind: str,
    model: str | Path,
    data: Paths,
    reward: Paths,
    out: str | Path,
    settings: dict[str, Any],
) -> Path:
    terms = reward_terms(_strings(reward))
    return _single(kind, {"from": model, "data": _sources(data), "reward": terms}, out, settings)


def _single(kind: str, given: dict[str, Any], out: str | Path, settings: dict[str, Any]) -> Path:
    seed = settings.pop("seed", 1)
    given = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    config = stage_settings(kind, {**given, **settings})
    return runner.run_single(config, Path(out), Setting(seed))


def _strings(paths: Paths) -> list[str]:
    return [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]


def _sources(paths: Paths) -> list[dict[str, str]]:
    return data_sources(_strings(paths))
