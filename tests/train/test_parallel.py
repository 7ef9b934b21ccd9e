"""Two gloo processes against one: the same losses, gradients and, through a checkpoint, bytes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import train_toy as toy
from safetensors.torch import load_file

from accord.checkpoint.store import Store
from accord.train.metrics import read_log
from accord.train.parallel import Ranks, launch

CPU = torch.device("cpu")


def run(ranks: int, jobs: list[tuple[Path, dict[str, object]]]) -> subprocess.CompletedProcess[str]:
    words = json.dumps([(str(folder), settings) for folder, settings in jobs])
    return subprocess.run(
        [sys.executable, toy.__file__, str(ranks), words],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return read_log(folder / "accord" / "metrics.jsonl")


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines(folder)]


def newest(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    return checkpoint.tensors()


FIRST: dict[str, object] = {"steps": 1, "max_grad_norm": None, "micro_batch_size": 2}
OFTEN: dict[str, object] = {"save_every": 2, "keep_last": 9, "optimizer": "muon"}
KINDS = {
    "fp32": OFTEN | {"gradient_checkpointing": True},
    "bf16": OFTEN | {"precision": "bf16"},
}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two ranks, some of which go on from a checkpoint of one rank."""
    root = tmp_path_factory.mktemp("ranked")
    toy.rank_main(root / "exported", {})
    shutil.copy(root / "exported" / "final.safetensors", root / "one.safetensors")
    jobs = [
        (root / "first", FIRST),
        (root / "poisoned", {"poison": "row3", "micro_batch_size": 1}),
        (root / "exported", {}),
        (root / "whole", OFTEN),
        (root / "cut", OFTEN),
        (root / "cut", OFTEN | {"drop": [4, 6]}),
    ]
    for kind, settings in KINDS.items():
        toy.train(root / kind, settings)
        jobs.append((root / kind, settings | {"drop": [4, 6]}))
    result = run(2, jobs)
    assert result.returncode == 0, result.stderr
    return root


@pytest.mark.slow
def test_two_ranks_take_the_same_first_step_as_one(ranked: Path, tmp_path: Path) -> None:
    toy.train(tmp_path, FIRST)
    one, two = newest(tmp_path), newest(ranked / "first")
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].shape == two[name].shape
        if name.endswith("/exp_avg"):
            # A tenth of the gradient: this is 1e-6 on the gradient itself.
            assert (one[name] - two[name]).abs().max() < 1e-7
    for name in ("loss", "grad_norm", "entropy", "num_tokens", "eval_loss", "eval_entropy"):
        alone, together = lines(tmp_path)[0][name], lines(ranked / "first")[0][name]
        assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_a_run_goes_from_one_rank_to_two_and_back(
    ranked: Path, tmp_path: Path, kind: str, tolerance: float
) -> None:
    """Step 2 is one rank's, steps 3 and 4 are two ranks', 5 and 6 one rank's again."""
    toy.train(tmp_path / "whole", KINDS[kind])
    shutil.copytree(ranked / kind, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "accord" / "checkpoints" / "step-6")
    final = toy.state(tmp_path / "mixed", KINDS[kind])
    assert all(torch.isfinite(t).all() for t in final.values())
    assert losses(tmp_path / "mixed") == pytest.approx(losses(tmp_path / "whole"), rel=tolerance)


@pytest.mark.slow
def test_resharding_changes_no_bit(ranked: Path) -> None:
    """Two ranks loaded one rank's final checkpoint, took no step and exported it."""
    one, two = (
        load_file(ranked / "one.safetensors"),
        load_file(ranked / "exported/final.safetensors"),
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[n], two[n]) for n in one)


@pytest.mark.slow
def test_two_ranks_resume_in_the_same_bytes(ranked: Path) -> None:
    whole, cut = newest(ranked / "whole"), newest(ranked / "cut")
    assert all(torch.equal(whole[n], cut[n]) for n in whole)
    assert losses(ranked / "whole") == losses(ranked / "cut")


@pytest.mark.slow
def test_nan_on_one_rank_skips_the_step_on_both(ranked: Path) -> None:
    logged = [line["skipped_rows"] for line in lines(ranked / "poisoned") if "skipped_rows" in line]
    assert logged and all(rows == ["row3"] for rows in logged)
    assert all(torch.isfinite(t).all() for t in newest(ranked / "poisoned").values())


@pytest.mark.slow
def test_an_error_of_a_rank_is_the_callers(tmp_path: Path) -> None:
    result = run(2, [(tmp_path, {"batch_size": 5})])
    assert result.returncode != 0
    assert "AccordError: batch_size 5 is not a multiple of the 2 ranks" in result.stderr


def test_one_rank_is_run_right_here() -> None:
    seen: list[int] = []
    launch(seen.append, 1, 5)
    assert seen == [5]


def test_parts_of_a_tensor_are_those_that_fsdp_cuts() -> None:
    full = torch.arange(10.0).view(5, 2)
    assert torch.equal(Ranks(0, 1, CPU).part(full), full)
