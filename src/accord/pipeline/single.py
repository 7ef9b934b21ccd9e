"""The settings of a single stage, from a command's options or a function's arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.config.document import Document, read_yaml
from accord.config.generate import SamplingConfig
from accord.config.load import stage_from_args, validate
from accord.config.references import HUB
from accord.config.stages import StageConfig
from accord.pipeline.files import read_json

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "tokenizer": {},
    "pretrain": {"epochs": 1, "lr": 3e-4, "warmup_ratio": 0.02},
    "sft": {"epochs": 2, "lr": 2e-5, "batch_size": 16, "max_length": 1024, "warmup_ratio": 0.03},
    "reward": {
        "epochs": 1,
        "lr": 1e-5,
        "batch_size": 32,
        "max_length": 1024,
        "warmup_ratio": 0.05,
    },
    "preference": {
        "epochs": 1,
        "lr": 1e-6,
        "batch_size": 16,
        "max_length": 1024,
        "warmup_ratio": 0.1,
    },
    "ppo": {"epochs": 1, "lr": 1e-6, "batch_size": 64, "max_length": 1024},
    "grpo": {"epochs": 1, "lr": 1e-6, "batch_size": 8, "max_length": 1024},
    "online": {"epochs": 1, "lr": 1e-6, "batch_size": 16, "max_length": 1024},
    "evaluate": {"scorers": ["length", "fluency"]},
}
"""What a single command sets where its user says nothing: rates for models that are trained
already (sft, preference); a model from scratch wants a higher one."""

RIVALS = ({"steps", "epochs"}, {"warmup_steps", "warmup_ratio"})
"""Settings of which one at most is given: a default gives way to its rival."""


def stage_settings(
    kind: str,
    given: Mapping[str, Any],
    settings: Sequence[str] = (),
    file: Path | None = None,
) -> StageConfig:
    """A stage's settings: defaults, under a file, under options, under `key=value`.

    Args:
        kind: Kind of stage.
        given: Options as a mapping; those that are none or empty count as not given.
        settings: `key=value`, the last word.
        file: YAML with a mapping of the stage's settings.

    Raises:
        AccordError: As `config.load.stage_from_args`.
    """
    document = read_yaml(file) if file else Document({}, {}, "")
    if isinstance(document.value, dict):
        said = {key: value for key, value in given.items() if value not in (None, (), [])}
        own = {**document.value, **said}
        keys = {*own, *(setting.partition("=")[0].partition(".")[0] for setting in settings)}
        value = {**_defaults(kind, keys, own.get("from")), **own}
        origins = {place: line for place, line in document.origins.items() if place[:1] not in said}
        document = replace(document, value=value, origins=origins)
    return stage_from_args(kind, document, settings)


def _defaults(kind: str, keys: set[str], start: str | None) -> dict[str, Any]:
    """The table's row without the rivals of given keys, no longer than the starting model reads."""
    found = dict(DEFAULTS[kind])
    for rivals in RIVALS:
        if keys & rivals:
            found = {key: value for key, value in found.items() if key not in rivals}
    if "max_length" in found and isinstance(start, str):
        found["max_length"] = min(found["max_length"], _positions(start, found["max_length"]))
    return found


def _positions(folder: str, otherwise: int) -> int:
    """Positions that a model folder's config.json allows; `otherwise` where it does not say."""
    path = Path(folder).expanduser()
    if (path / "adapter_config.json").is_file():
        path = import_module("accord.checkpoint.adapter_folder").whole_folder(path)
    config = read_json(path / "config.json")
    allowed = config.get("max_position_embeddings", config.get("n_positions"))
    return allowed if isinstance(allowed, int) and allowed > 0 else otherwise


def data_sources(files: Sequence[str]) -> list[dict[str, str]]:
    """Files, folders and hub names as a stage's `data`."""
    return [{"source": file} for file in files]


def reward_terms(names: Sequence[str] | None) -> list[dict[str, str]]:
    """Reward functions by name, and folders or hub names of reward models, as `reward`."""
    return [
        {"model" if name.startswith(HUB) or Path(name).expanduser().is_dir() else "function": name}
        for name in names or ()
    ]


def evaluation(
    models: Sequence[str], reference: str | None, texts: Sequence[str], files: Sequence[str]
) -> dict[str, Any]:
    """The settings that an evaluation's options stand for; the first model is the reference."""
    prompts: dict[str, Any] = {}
    if texts:
        prompts["texts"] = list(texts)
    if files:
        prompts["data"] = data_sources(files)
    return {
        "policies": list(models),
        "reference": reference or next(iter(models), None),
        "prompts": prompts or None,
    }


def sampling_settings(**given: Any) -> SamplingConfig:
    """Sampling settings, checked as a recipe's are.

    Raises:
        AccordError: An unknown setting or a value out of range.
    """
    return validate(SamplingConfig, Document(given, {}, "sampling"))
