"""A stage that goes on from any of its checkpoints ends in the bytes of one never stopped."""

import json
import shutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from battery import kills
from battery.row import Outcome, Row, Size
from battery.suite import through_tests

STEPS = 7
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
COMMON: dict[str, Any] = {
    "heldout": {"fraction": 0.2},
    "batch_size": 4,
    "micro_batch_size": 2,
    "max_length": 64,
    "lr": 3e-3,
    "eps": 1e-3,  # on other ranks: where a gradient vanishes, Adam would divide its rounding by it
    "save_every": 1,
    "keep_last": 99,
}
TEXTS = {"data": [{"source": "stories.jsonl", "name": "stories"}], "max_length": 32}
REVIEWS = {"data": [{"source": "reviews.tsv", "name": "reviews"}]}
PAIRS = {"data": [{"source": "preferences.jsonl", "name": "pairs"}], "max_length": 128}
# two batches a roll-out, each used twice: three steps of four begin in the middle of one
POLICY: dict[str, Any] = {
    **REVIEWS,
    "batch_size": 2,
    "micro_batch_size": 1,
    "reward": [{"function": "python:battery.resume:letters"}],
    "rollout": {
        "first_words": 2,
        "batches": 2,
        "iterations": 2,
        "sampling": {"max_new_tokens": 8},
    },
}
CASES: dict[str, dict[str, Any]] = {
    "pretrain": {"kind": "pretrain", **TEXTS},
    "pretrain, bf16, muon": {
        **{"kind": "pretrain", **TEXTS, "precision": "bf16", "optimizer": "muon"},
        "async_save": True,
    },
    "sft": {"kind": "sft", **REVIEWS},
    "sft, muon": {"kind": "sft", **REVIEWS, "optimizer": "muon"},
    "reward": {"kind": "reward", **PAIRS, "baseline": False},
    "preference": {"kind": "preference", **PAIRS, "async_save": True},
    "preference, kto": {"kind": "preference", **PAIRS, "loss": "kto"},
    "preference, moving reference": {
        **{"kind": "preference", **PAIRS, "sync_ref_model": True},
        "ref_model_sync_steps": 2,
    },
    "ppo": {"kind": "ppo", **POLICY, "kl_target": 0.5},
    "grpo": {"kind": "grpo", **POLICY, "num_generations": 3, "beta": 0.1, "async_save": True},
    "online": {"kind": "online", **POLICY, "num_generations": 3},
}
"""The seven trained stages, and what of them keeps a state of its own."""
ROWS_KEPT = 10
"""Rows of each file: at most five steps an epoch, so that every run turns one."""
TESTS = (
    "tests/train/test_loop.py::test_resume_at_every_step_ends_in_the_same_bytes",
    "tests/train/test_adapters.py::test_a_resumed_run_ends_in_the_same_bytes",
)
TIMED = ("_per_second", "peak_memory_bytes", "_runtime", "seconds")


def letters(answer: Any) -> float:
    """A reward: letters of the completion, and a little for its even token ids."""
    return sum(c.isalpha() for c in answer.completion) + 0.01 * sum(i % 2 for i in answer.ids)


class Died(Exception):
    """The process is gone."""


def world(home: Path) -> Path:
    """A folder with a little data and an untrained model in `start`."""
    from accord.checkpoint.folder import save_model
    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    data = kills.data(home) / "tiny-data"
    texts = (data / "stories.jsonl").read_text().splitlines()
    for file in data.iterdir():
        header = file.suffix == ".tsv"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[: ROWS_KEPT + header]))
    tokenizer = Tokenizer.train(texts, vocab_size=300, chat_template="chatml")
    config = ModelConfig(vocab_size=len(tokenizer), **SHAPE)
    save_model(Decoder.init(config, 3), home / "start", tokenizer)
    return home


def trained(home: Path, case: str, folder: Path, steps: int) -> str:
    """Run a stage, or go on with it; gives what it printed."""
    from pydantic import TypeAdapter
    from rich.console import Console

    from accord.config.stages import StageConfig
    from accord.pipeline.execute import MODULES
    from accord.stages.context import StageContext

    settings = COMMON | CASES[case] | {"from": str(home / "start"), "steps": steps}
    config: Any = TypeAdapter(StageConfig).validate_json(json.dumps(settings))
    folder.mkdir(parents=True, exist_ok=True)
    said = Console(file=StringIO(), width=200)
    inputs = {name: Path(name) for name in config.inputs()}
    context = StageContext(config.kind, folder, inputs, 1, home / "tiny-data", said)
    import_module(MODULES[config.kind]).run(config, context)
    assert isinstance(said.file, StringIO)
    return said.file.getvalue()


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a stage's log without what time and memory it took."""
    lines = (folder / "accord" / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.endswith(TIMED)}
        for line in lines
    ]


def differences(folder: Path, whole: Path) -> Iterator[str]:
    """Files of weights and checkpoints, or lines of the log, that are not the same."""
    for file in sorted(whole.rglob("*")):
        if file.suffix != ".safetensors" and file.name != "meta.json":
            continue
        same = folder / file.relative_to(whole)
        if not same.exists() or same.read_bytes() != file.read_bytes():
            yield str(file.relative_to(whole))
    if log(folder) != log(whole):
        yield "the log"


def cut_back(whole: Path, folder: Path, step: int) -> None:
    """The folder of a run that was killed when `step` steps were done."""
    shutil.copytree(whole, folder)
    for checkpoint in (folder / "accord" / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    (folder / "model.safetensors").unlink()


def at_every_step(home: Path, case: str, whole: Path, steps: int) -> list[str]:
    """What differs, where the run went on from each of its checkpoints in turn."""
    faults = []
    for step in range(1, steps):
        folder = whole.with_name(f"cut-{step}")
        cut_back(whole, folder, step)
        trained(home, case, folder, steps)
        faults += [f"{case}, from step {step}: {each}" for each in differences(folder, whole)]
    return faults


def mid_accumulation(home: Path, case: str, whole: Path, steps: int) -> list[str]:
    """What differs, where each life gets a step further and dies in the next one's accumulation."""
    from torch import Tensor

    folder, lives = whole.with_name("dying"), 0
    backward = Tensor.backward
    while lives < 2 * steps:
        lives, passes = lives + 1, 0

        def dying(total: Tensor, *rest: Any, **named: Any) -> None:
            nonlocal passes
            passes += 1
            if passes == 4:  # two micro-batches a step: in the second one of the second step
                raise Died
            backward(total, *rest, **named)

        try:
            with patch.object(Tensor, "backward", dying):
                trained(home, case, folder, steps)
        except Died:
            continue
        break
    faults = [f"{case}, mid-accumulation: {each}" for each in differences(folder, whole)]
    return faults if lives == steps else [*faults, f"{case}: {lives} lives for {steps} steps"]


def stopped_everywhere(home: Path, case: str, folder: Path, steps: int) -> list[str]:
    """What differs in a stage that is stopped between and within all of its steps."""
    whole = folder / "whole"
    trained(home, case, whole, steps)
    epochs = log(whole)[-1].get("epoch", 0)
    faults = [] if epochs > 1 else [f"{case}: no epoch's edge within {epochs} epochs"]
    faults += at_every_step(home, case, whole, steps)
    return faults + mid_accumulation(home, case, whole, steps)


def past_a_damaged(name: str, folder: Path, steps: int = 4) -> list[str]:
    """What is wrong where a run goes on although a file of its newest checkpoint is damaged."""
    home, whole, cut = world(folder), folder / "whole", folder / "cut"
    trained(home, "sft", whole, steps)
    cut_back(whole, cut, steps - 1)
    path = cut / "accord" / "checkpoints" / f"step-{steps - 1}" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = trained(home, "sft", cut, steps)
    faults = [f"{name}: {each} is unequal" for each in differences(cut, whole)]
    named = f"step-{steps - 1} is damaged" in said
    return faults if named else [*faults, f"{name}: no warning, but {said!r}"]


def row(folder: Path, size: Size) -> Outcome:
    """Every case at every step; then the loop's and the adapters' own tests of the same."""
    home = world(folder / "world")
    faults: Mapping[str, list[str]] = {
        case: stopped_everywhere(home, case, folder / str(number), STEPS)
        for number, case in enumerate(CASES)
    }
    tests = through_tests(*TESTS)
    bad = [fault for found in faults.values() for fault in found]
    return Outcome(
        not bad and tests.passed,
        f"{len(CASES)} stages and variants, each resumed at {STEPS - 1} steps and {STEPS - 1} "
        f"times mid-accumulation, over epochs' edges and within roll-outs: {len(bad)} unequal; "
        f"{tests.figure}",
        {"unequal": bad, "tests": tests.details},
    )


RESUME = Row(
    "resume",
    "resume at every step, also mid-accumulation, mid-roll-out, at an epoch's edge",
    "bit-identical weights, checkpoints and log (CPU)",
    row,
)
