"""What a run will write, estimated before its first stage begins."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from accord.config.lora import LoRAConfig
from accord.config.model import PRESETS, ModelConfig
from accord.config.parameters import count_parameters
from accord.config.references import HUB
from accord.config.stages import StageConfig, TokenizerStage
from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.pipeline.artifacts import Artifact

FLOAT32 = 4
STATES = 3
"""Copies of the trained weights in a checkpoint: themselves and AdamW's two moments."""
RECORDS = 2 << 20
"""Bytes of a stage's records: logs, counts of rows, tokenizer, manifests."""


def check_space(stages: Mapping[str, StageConfig], folders: Mapping[str, Path], out: Path) -> None:
    """Refuse a run for which the disk is too small; a coarse estimate, never below what is known.

    Args:
        stages: Of the run; those whose record stands count for nothing.
        folders: Where each writes.
        out: The run's folder, whose disk counts.

    Raises:
        AccordError: With free and needed bytes.
    """
    missing = sum(_missing(name, stages, folders[name]) for name in folders)
    if _free(out) < missing:
        raise _too_little("too little disk space for this run", missing, out)


@contextmanager
def full_disk_told(
    stages: Mapping[str, StageConfig], folders: Mapping[str, Path], out: Path
) -> Iterator[None]:
    """Say what is free and what is needed where the disk fills up while the stages run.

    Raises:
        AccordError: In place of the system's error.
    """
    try:
        yield
    except AccordError:
        raise
    except Exception as error:
        if not import_module("accord.checkpoint.store").is_full(error):
            raise
        missing = sum(_missing(name, stages, folders[name]) for name in folders)
        raise _too_little("the disk is full", missing, out) from error


def _free(out: Path) -> int:
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


def _too_little(what: str, missing: int, out: Path) -> AccordError:
    return AccordError(
        f"{what}: {_free(out):,} bytes free, about {missing:,} needed for checkpoints and results",
        str(out),
        "free some space, lower keep_last or keep_steps, or give another folder with --out; "
        "run again, it goes on where it was",
    )


def _missing(name: str, stages: Mapping[str, StageConfig], folder: Path) -> int:
    """Bytes that a stage has yet to write: all of them, less what an unfinished try has left."""
    if Artifact(folder).finished:
        return 0
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return max(0, stage_bytes(name, stages) - held)


def stage_bytes(name: str, stages: Mapping[str, StageConfig]) -> int:
    """Bytes of a stage's checkpoints, with the one that is being written, and of its result."""
    config = stages[name]
    if not isinstance(config, TrainConfig):
        return RECORDS
    shape = _shape(name, stages)
    if shape is None:
        return RECORDS
    whole = trained = count_parameters(shape).total
    lora = getattr(config, "lora", None)
    if isinstance(lora, LoRAConfig):
        # of an m x n matrix r (m + n) numbers, which is at most this share of it
        trained = min(whole, -(-whole * 2 * lora.r // shape.hidden_size))
    if getattr(config, "critic", None) == "separate":
        trained += whole
    checkpoint = STATES * trained + whole * bool(getattr(config, "sync_ref_model", False))
    kept = config.keep_last + len(config.keep_steps) + 1
    return RECORDS + FLOAT32 * (checkpoint * kept + trained)


def _shape(name: str, stages: Mapping[str, StageConfig]) -> ModelConfig | None:
    """The shape of the model that a stage trains; none if it cannot be known yet."""
    if name not in stages:
        return _shape_of_folder(name)
    config = stages[name]
    start = getattr(config, "from_", None)
    if start is not None:
        return _shape(start, stages)
    if config.kind != "pretrain" or config.tokenizer is None:
        return None
    rest = {key: value for key, value in config.model.items() if key != "preset"}
    preset = PRESETS[str(config.model.get("preset", "llama"))]
    size = {"vocab_size": _vocabulary(config.tokenizer, stages)}
    return ModelConfig.model_validate({**preset, **rest, **size})


def _shape_of_folder(name: str) -> ModelConfig | None:
    """What stands in a model folder; one that cannot be read is its stage's to complain about."""
    if name.startswith(HUB):
        return None
    try:
        return import_module("accord.checkpoint.folder").load_config(Path(name).expanduser())
    except AccordError:
        return None


def _vocabulary(tokenizer: str, stages: Mapping[str, StageConfig]) -> int:
    """Tokens of a tokenizer that is a stage or a folder; 1 if it cannot be known yet."""
    config = stages.get(tokenizer)
    if isinstance(config, TokenizerStage):
        return config.vocab_size
    try:
        file = Path(tokenizer).expanduser() / "tokenizer.json"
        return len(json.loads(file.read_bytes())["model"]["vocab"]) or 1
    except (OSError, ValueError, KeyError, TypeError):
        return 1
