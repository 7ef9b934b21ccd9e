"""Training adapters: what is trained, held and stored is theirs alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import adapter_toy
import pytest
import torch
import train_toy as toy
from safetensors.torch import load_file
from torch import Tensor

from accord.checkpoint.store import Store
from accord.config.lora import LoRAConfig
from accord.config.stages import SFTStage
from accord.data.batch import TokenBatch
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.objectives.loss import Loss
from accord.train.metrics import read_log
from accord.train.resume import refuse_other_run, run_identity

FAMILIES = ["llama", "gpt2"]


def final(folder: Path, settings: dict[str, object], family: str = "llama") -> dict[str, Tensor]:
    trainer = adapter_toy.trainer(folder, settings, family)
    trainer.fit()
    return trainer.export_state()


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder / "accord" / "metrics.jsonl")]


def same_bytes(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].numpy().tobytes() == b[n].numpy().tobytes() for n in a)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls_and_the_base_stays(tmp_path: Path, family: str) -> None:
    trainer = adapter_toy.trainer(tmp_path, {"steps": 30, "lr": 3e-2}, family)
    trainer.fit()
    found = losses(tmp_path)
    assert found[-1] < 0.8 * found[0]
    base = Decoder.init(adapter_toy.SHAPES[family], 0).state_dict()
    model = trainer._runner._root.model  # type: ignore[attr-defined]
    left = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.replace(".base_layer", "") for name in left} == base.keys()
    for name, weight in left.items():
        assert torch.equal(weight, base[name.replace(".base_layer", "")])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_ends_in_the_same_bytes(
    tmp_path: Path, family: str, optimizer: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, object] = {
        "optimizer": optimizer,
        "precision": precision,
        "micro_batch_size": 4,
        "save_every": 1,
        "steps": 4,
    }
    whole = final(tmp_path / "whole", settings, family)
    assert all(".lora_" in name for name in whole)
    for stop in (1, 3):
        folder = tmp_path / f"stop{stop}"
        with monkeypatch.context() as patch, pytest.raises(_Killed):
            _kill_after(patch, stop)
            final(folder, settings, family)
        assert same_bytes(final(folder, settings, family), whole)
    assert losses(folder) == losses(tmp_path / "whole")


class _Killed(Exception):
    pass


def _kill_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    step, calls = toy.step, 0

    def dying(model: Any, batch: TokenBatch) -> Loss:
        nonlocal calls
        calls += 1
        if calls > 2 * steps:  # two micro-batches a step
            raise _Killed
        return step(model, batch)

    patch.setattr(toy, "step", dying)


def test_a_checkpoint_holds_factors_and_their_moments_only(tmp_path: Path) -> None:
    trained = final(tmp_path, {"steps": 2})
    checkpoint = Store(tmp_path / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    names = {name.split("/")[1] for name in checkpoint.tensors()}
    assert names == trained.keys()
    stored = {n.removeprefix("weights/") for n in checkpoint.tensors() if n.startswith("weights/")}
    assert stored == trained.keys()


def test_in_bf16_the_base_is_held_once_and_in_bf16(tmp_path: Path) -> None:
    trainer = adapter_toy.trainer(tmp_path, {"steps": 2, "precision": "bf16"})
    model = trainer._runner._root.model  # type: ignore[attr-defined]
    parameters = dict(model.named_parameters())
    assert {p.dtype for p in parameters.values()} == {torch.bfloat16}
    masters = trainer._weights.masters
    assert masters.keys() == {n for n, p in parameters.items() if p.requires_grad}
    assert {master.dtype for master in masters.values()} == {torch.float32}
    held = [p.untyped_storage().nbytes() for p in parameters.values() if not p.requires_grad]
    base = Decoder.init(adapter_toy.SHAPES["llama"], 0)
    assert sum(held) == 2 * sum(weight.numel() for weight in base.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_changes_nothing(tmp_path: Path, family: str) -> None:
    plain = final(tmp_path / "plain", {}, family)
    recomputed = final(tmp_path / "recomputed", {"gradient_checkpointing": True}, family)
    for name, factor in plain.items():
        torch.testing.assert_close(recomputed[name], factor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compiled_blocks_train_alike(tmp_path: Path) -> None:
    settings: dict[str, object] = {"steps": 1, "batch_size": 2}
    plain = final(tmp_path / "plain", settings)
    compiled = final(tmp_path / "compiled", {**settings, "compile": True})
    for name, factor in plain.items():
        torch.testing.assert_close(compiled[name], factor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    settings: dict[str, object] = {"steps": 3, "save_every": 3}
    words = [adapter_toy.__file__, "2", str(tmp_path / "two"), json.dumps(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    for family in FAMILIES:
        one = final(tmp_path / "one" / family, settings, family)
        expected = losses(tmp_path / "one" / family)
        assert losses(tmp_path / "two" / family) == pytest.approx(expected, rel=1e-5)
        two = load_file(tmp_path / "two" / family / "final.safetensors")
        assert two.keys() == one.keys()
        for name, factor in one.items():
            torch.testing.assert_close(two[name], factor, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path: Path) -> None:
    def identity(lora: LoRAConfig | None) -> dict[str, Any]:
        given = {"from": "a", "data": [{"source": "b"}], "steps": 2, "lora": lora}
        return run_identity(SFTStage.model_validate(given), 2, "")

    saved = identity(LoRAConfig(r=4))
    refuse_other_run(saved, identity(LoRAConfig(r=4)), tmp_path)
    with pytest.raises(AccordError, match=r"lora was .*'r': 4.* and is .*'r': 8"):
        refuse_other_run(saved, identity(LoRAConfig(r=8)), tmp_path)
    with pytest.raises(AccordError, match=r"lora was .* and is None"):
        refuse_other_run(saved, identity(None), tmp_path)
    # a run from before there were adapters goes on
    before = {key: value for key, value in identity(None).items() if key != "lora"}
    refuse_other_run(before, identity(None), tmp_path)
