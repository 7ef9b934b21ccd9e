"""Two gloo processes against one: the same losses, gradients and, through a checkpoint, bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_toy as toy
from safetensors.torch import load_file

from accord.checkpoint.store import Store
from accord.errors import AccordError
from accord.train.metrics import read_log
from accord.train.microbatch import micro_batch_size, split
from accord.train.parallel import Ranks, launch

CPU = torch.device("cpu")


def run(folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, toy.__file__, str(folder), json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_log(folder / "accord" / "metrics.jsonl")]


def newest(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    return checkpoint.tensors()


@pytest.mark.slow
def test_two_ranks_take_the_same_first_step_as_one(tmp_path: Path) -> None:
    settings = {"steps": 1, "max_grad_norm": None, "micro_batch_size": 2}
    result = run(tmp_path / "two", ranks=2, **settings)
    assert result.returncode == 0, result.stderr
    toy.train(tmp_path / "one", settings)
    one, two = newest(tmp_path / "one"), newest(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        # exp_avg holds a tenth of the gradient, so this is 1e-6 on the gradient itself
        assert one[name].shape == two[name].shape
        if name.endswith("/exp_avg"):
            assert (one[name] - two[name]).abs().max() < 1e-7
    metrics = [read_log(tmp_path / f / "accord" / "metrics.jsonl")[0] for f in ("one", "two")]
    for name in ("loss", "grad_norm", "entropy", "num_tokens", "eval_loss", "eval_entropy"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"optimizer": "muon", "gradient_checkpointing": True}, 1e-5),
        ({"precision": "bf16", "optimizer": "muon"}, 2e-2),
    ],
)
def test_ranks_are_resharded_without_a_changed_bit(
    tmp_path: Path, settings: dict[str, object], tolerance: float
) -> None:
    """1 -> 2 -> 1 ranks: what is loaded is bitwise what was saved, and losses go on as if alone."""
    toy.train(tmp_path / "whole", settings | {"steps": 6, "save_every": 2, "keep_last": 9})
    folder = tmp_path / "mixed"
    store = Store(folder / "accord" / "checkpoints", keep_last=9)
    settings = settings | {"steps": 6, "save_every": 2, "keep_last": 9}
    toy.train(folder, settings)
    for step in (4, 6):
        _drop(store, step)
    saved = newest(folder)
    result = run(folder, ranks=2, **settings)
    assert result.returncode == 0, result.stderr
    _drop(store, 6)
    # Two ranks loaded step 2 and went on; step 4 is theirs, and one rank finishes from it.
    assert all(torch.equal(saved[n], store.at(2).tensors()[n]) for n in saved)
    final = toy.state(folder, settings)
    assert all(torch.isfinite(t).all() for t in final.values())
    assert losses(folder) == pytest.approx(losses(tmp_path / "whole"), rel=tolerance)


def _drop(store: Store, step: int) -> None:
    import shutil

    shutil.rmtree(store.folder / f"step-{step}")


@pytest.mark.slow
def test_saving_on_two_ranks_what_one_has_saved_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two ranks load, take no step, and export: every tensor is what one rank exports."""
    final = toy.state(tmp_path, {})
    result = run(tmp_path, ranks=2)
    assert result.returncode == 0, result.stderr
    exported = load_file(tmp_path / "final.safetensors")
    assert exported.keys() == final.keys()
    assert all(torch.equal(exported[n], final[n]) for n in final)


@pytest.mark.slow
def test_two_ranks_resume_in_the_same_bytes(tmp_path: Path) -> None:
    settings: dict[str, object] = {"save_every": 2, "keep_last": 9, "optimizer": "muon"}
    assert run(tmp_path / "whole", ranks=2, **settings).returncode == 0
    assert run(tmp_path / "cut", ranks=2, **settings).returncode == 0
    store = Store(tmp_path / "cut" / "accord" / "checkpoints", keep_last=9)
    for step in (4, 6):
        _drop(store, step)
    assert run(tmp_path / "cut", ranks=2, **settings).returncode == 0
    whole, cut = newest(tmp_path / "whole"), newest(tmp_path / "cut")
    assert all(torch.equal(whole[n], cut[n]) for n in whole)


@pytest.mark.slow
def test_nan_on_one_rank_skips_the_step_on_both(tmp_path: Path) -> None:
    result = run(tmp_path, ranks=2, poison="row3", micro_batch_size=1)
    assert result.returncode == 0, result.stderr
    skipped = [
        line["skipped_rows"]
        for line in read_log(tmp_path / "accord" / "metrics.jsonl")
        if "skipped_rows" in line
    ]
    assert skipped and all(rows == ["row3"] for rows in skipped)
    assert all(torch.isfinite(t).all() for t in newest(tmp_path).values())


@pytest.mark.slow
def test_an_error_of_a_rank_is_the_caller_s(tmp_path: Path) -> None:
    result = run(tmp_path, ranks=2, batch_size=5)
    assert result.returncode != 0
    assert "AccordError: batch_size 5 is not a multiple of the 2 ranks" in result.stderr


def test_one_rank_is_run_right_here() -> None:
    seen: list[int] = []
    launch(seen.append, 1, 5)
    assert seen == [5]


def test_batch_size_has_to_be_a_multiple_of_the_ranks() -> None:
    with pytest.raises(AccordError, match="batch_size 8 is not a multiple of the 3 ranks"):
        micro_batch_size(toy.config(), Ranks(0, 3, CPU))
    assert micro_batch_size(toy.config(), Ranks(0, 2, CPU)) == 4


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_split_gives_each_row_once_and_every_rank_as_many_batches(
    world: int, count: int, size: int
) -> None:
    rows = list(range(count))
    parts = [split(rows, Ranks(rank, world, CPU), size) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    counted = [row for part in parts for batch, counts in part if counts for row in batch]
    assert sorted(counted) == rows
    assert all(0 < len(batch) <= size for part in parts for batch, _ in part)


def test_parts_of_a_tensor_are_those_that_fsdp_cuts() -> None:
    full = torch.arange(10.0).view(5, 2)
    assert torch.equal(Ranks(0, 1, CPU).part(full), full)
