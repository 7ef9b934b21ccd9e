"""A run of TRL's SFTTrainer or DPOTrainer as a user's script would start it, to live in a process.

Checkpoints after every step and, as TRL's documentation has it, a restart from the last checkpoint
of the folder if there is one.
"""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PER_STEP = 4


@dataclass(frozen=True)
class Run:
    """What is trained where.

    Args:
        out: TRL's `output_dir`; `final/` in it gets the trained model.
        method: `sft` or `dpo`.
        resume: `last` (the last checkpoint of `out`), a checkpoint's path, or none.
        settings: Of `SFTConfig` or `DPOConfig`, over those of `configured`.
    """

    model: Path
    data: Path
    out: Path
    method: str = "sft"
    resume: str | None = None
    evaluate: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def configured(run: Run) -> Any:
    """One thread, float32, every step logged and saved: a run that can be compared bit by bit."""
    from trl import DPOConfig, SFTConfig

    fixed = {
        "output_dir": str(run.out),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 1,
        "save_strategy": "steps",
        "per_device_train_batch_size": PER_STEP,
        "learning_rate": 1e-3,
        "seed": 1,
    }
    kind = SFTConfig if run.method == "sft" else DPOConfig
    return kind(**fixed | dict(run.settings))


def trainer_of(run: Run) -> Any:
    from datasets import disable_progress_bars, load_dataset
    from trl import DPOTrainer, SFTTrainer

    disable_progress_bars()
    kept = str(run.out.parent / "cache")

    def rows(path: Path) -> Any:
        return load_dataset("json", data_files=str(path), split="train", cache_dir=kept)

    kind = SFTTrainer if run.method == "sft" else DPOTrainer
    return kind(
        model=str(run.model),
        args=configured(run),
        train_dataset=rows(run.data),
        eval_dataset=None if run.evaluate is None else rows(run.evaluate),
    )


def fitted(trainer: Any, run: Run) -> None:
    """Train, from the last checkpoint if there is one; then save the model and the log."""
    from transformers.trainer_utils import get_last_checkpoint

    begin = run.resume
    if begin == "last":
        begin = get_last_checkpoint(str(run.out)) if run.out.is_dir() else None
    print(f"resuming from {begin}" if begin else "from the start", flush=True)
    trainer.train(resume_from_checkpoint=begin)
    trainer.save_model(str(run.out / "final"))
    (run.out / "log.json").write_text(json.dumps(trainer.state.log_history))


def train(run: Run) -> None:
    fitted(trainer_of(run), run)


def train_and_die_in_a_save(run: Run, save: int, part: float) -> None:
    """Killed in the `save`-th save of this life, after `part` of the time the last one took."""
    trainer = trainer_of(run)
    whole, took, saves = trainer._save_checkpoint, [], []

    def saving(*arguments: Any, **named: Any) -> None:
        saves.append(time.monotonic())
        if len(saves) == save:
            threading.Timer(part * took[-1], os.kill, (os.getpid(), signal.SIGKILL)).start()
        whole(*arguments, **named)
        took.append(time.monotonic() - saves[-1])

    trainer._save_checkpoint = saving
    fitted(trainer, run)


def digests(out: Path, checkpoint: Path) -> dict[str, str]:
    """SHA-256 of the trained weights, and of the state (optimiser, schedule, RNG, step) beside."""
    import torch

    def walked(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        if isinstance(value, Mapping):
            return {str(key): walked(each) for key, each in value.items()}
        return [walked(each) for each in value] if isinstance(value, list | tuple) else repr(value)

    def text(value: Any) -> str:
        told = json.dumps(walked(value), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    weights = (out / "final" / "model.safetensors").read_bytes()
    states = {
        name: text(torch.load(checkpoint / name, weights_only=False))
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")
    }
    return {"weights": hashlib.sha256(weights).hexdigest()} | states
