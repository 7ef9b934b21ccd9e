"""What decides a stage's result, as one hash: settings, seed, inputs and the data's content."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from accord.config.data import SourceConfig
from accord.config.references import HUB
from accord.config.stages import StageConfig
from accord.config.tasks import TASK
from accord.errors import AccordError, did_you_mean
from accord.pipeline.files import hash_file, hash_files, hash_json

FORMAT = 1
"""Raised when a stage's code changes what the same settings give."""

NO_EFFECT = frozenset(
    {
        "log_every",
        "save_every",
        "keep_last",
        "keep_steps",
        "async_save",
        "trackers",
        "resume",
        "trained_prompts",
    }
)
"""Settings that leave the result as it is: changing one of them reruns nothing."""

LATER = frozenset({"skip_spikes"})
"""Settings that came later: left out while unset, so that results from before still stand."""

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""The files of a model folder that a stage can start from."""


def fingerprint(
    config: StageConfig, seed: int, inputs: Mapping[str, str], data: Mapping[str, str]
) -> str:
    """SHA-256 of all that decides a stage's result.

    Args:
        config: The stage's settings; those without effect are left out.
        seed: The seed it draws from.
        inputs: Name of each input to its fingerprint.
        data: Each local source to the hash of its content.
    """
    settings = config.model_dump(mode="json", by_alias=True, exclude={*NO_EFFECT, "seed"})
    settings = {k: v for k, v in settings.items() if k not in LATER or v is not None}
    parts = {"format": FORMAT, "settings": settings, "seed": seed}
    return hash_json({**parts, "inputs": dict(inputs), "data": dict(data)})


def stage_seed(config: StageConfig, seed: int) -> int:
    """The seed a stage draws from: its own, or else the recipe's."""
    own = getattr(config, "seed", None)
    return seed if own is None else own


def input_fingerprint(name: str) -> str:
    """Fingerprint of an input that is no stage: a hub name as it is, a folder by its content."""
    if name.startswith(HUB):
        return name
    folder = Path(name).expanduser()
    files = model_files(folder)
    if not files:
        raise AccordError(
            f"the folder '{name}' holds no model and no tokenizer",
            str(folder),
            "it needs config.json and model.safetensors, or tokenizer.json",
        )
    if (folder / "adapter_config.json").is_file():
        # where the base lies does not matter, what it is does
        mark = import_module("accord.checkpoint.folder").model_fingerprint(folder)
        files = [file for file in files if file.name != "adapter_config.json"]
        return hash_json([mark, hash_files(folder, files)])
    return hash_files(folder, files)


def model_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face folder that a stage can start from."""
    found = {file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()}
    return sorted(found)


def data_hashes(config: StageConfig, base: Path, stage: str) -> dict[str, str]:
    """Every local source of a stage with the hash of its content.

    Raises:
        AccordError: A file that is not there.
    """
    found = {}
    for key, source in sources(config):
        if not source.source.startswith((HUB, "pypi:", TASK)):
            path = base / Path(source.source).expanduser()
            found[source.source] = _content(path, source.source, f"stages.{stage}.{key}.source")
    return found


def sources(config: BaseModel) -> Iterator[tuple[str, SourceConfig]]:
    """Every source a stage reads, with its dotted key."""
    for name, field in type(config).model_fields.items():
        yield from _sources(field.alias or name, getattr(config, name))


def _sources(key: str, value: Any) -> Iterator[tuple[str, SourceConfig]]:
    if isinstance(value, SourceConfig):
        yield key, value
    elif isinstance(value, BaseModel):
        for below, source in sources(value):
            yield f"{key}.{below}", source
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _sources(f"{key}.{index}", item)


def _content(path: Path, name: str, where: str) -> str:
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        if not files:
            raise AccordError(f"the folder '{name}' is empty", where)
        return hash_files(path, files)
    if not path.exists():
        others = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        raise AccordError(f"there is no file '{name}'", where, did_you_mean(path.name, others[:50]))
    return hash_file(path)
