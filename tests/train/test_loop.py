import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import train_toy as toy
from rich.console import Console
from torch import nn

from accord.data.batch import TokenBatch
from accord.errors import AccordError
from accord.objectives.loss import Loss
from accord.train import Trainer
from accord.train.metrics import read_log

QUIET = Console(quiet=True)


def log(folder: Path) -> list[dict[str, object]]:
    return read_log(folder / "accord" / "metrics.jsonl")


def same_bytes(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].numpy().tobytes() == b[n].numpy().tobytes() for n in a)


def test_training_lowers_the_loss_and_logs_every_step(tmp_path: Path) -> None:
    trainer = toy.train(tmp_path, {"steps": 30, "lr": 3e-2})
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    expected = {
        "loss", "grad_norm", "learning_rate", "num_tokens", "entropy", "mean_token_accuracy",
        "tokens_per_second", "peak_memory_bytes",
    }  # fmt: skip
    assert expected <= lines[0].keys()
    assert {"eval_loss", "eval_mean_token_accuracy"} <= lines[-1].keys()
    assert not {name for name in lines[-1] if name.startswith("_") or "__" in name}
    assert trainer.export_state().keys() == dict(toy.model().named_parameters()).keys()


def test_first_step_is_adamw_on_the_mean_over_all_tokens(tmp_path: Path) -> None:
    # A large eps keeps the first step from being the gradient's mere sign.
    plain = {"max_grad_norm": None, "schedule": "constant", "weight_decay": 0.1, "eps": 1e-3}
    settings = toy.config(steps=1, **plain)
    rows = toy.Rows(1, 8)
    twin = toy.model()
    loss = toy.step(twin, rows.collate(rows.rows(0)))
    (loss.total / loss.weight).backward()
    groups = [
        {"params": [p for p in twin.parameters() if (p.dim() >= 2) == decays], "weight_decay": wd}
        for decays, wd in ((True, 0.1), (False, 0.0))
    ]
    torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-3, fused=False).step()
    trainer = Trainer(toy.model(), toy.step, rows, settings, tmp_path, console=QUIET)
    result = trainer.fit()
    assert result.metrics["loss"] == pytest.approx(
        float(loss.total.detach() / loss.weight), rel=1e-6
    )
    trained = trainer.export_state()
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(trained[name], weight.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8])
def test_accumulation_changes_nothing(tmp_path: Path, size: int) -> None:
    whole = _gradients(tmp_path / "whole", 8)
    parts = _gradients(tmp_path / "parts", size)
    for name, gradient in whole.items():
        assert (gradient - parts[name]).abs().max() < 1e-6


def _gradients(folder: Path, size: int) -> dict[str, torch.Tensor]:
    """The first step's gradient, read from Adam's first moment, which is 0.1 of it."""
    from accord.checkpoint.store import Store

    toy.train(folder, {"steps": 1, "micro_batch_size": size, "max_grad_norm": None})
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    ending = "/exp_avg"
    return {n: t * 10 for n, t in checkpoint.tensors().items() if n.endswith(ending)}


def test_clipping_is_by_the_global_norm(tmp_path: Path) -> None:
    free = _first_moment(tmp_path / "free", None)
    clipped = _first_moment(tmp_path / "clipped", 0.01)
    norm = float(sum((t.double() ** 2).sum() for t in free.values()) ** 0.5) * 10
    assert norm > 0.01
    assert log(tmp_path / "free")[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for name, moment in free.items():
        torch.testing.assert_close(clipped[name], moment * 0.01 / norm, rtol=1e-3, atol=1e-7)


def _first_moment(folder: Path, limit: float | None) -> dict[str, torch.Tensor]:
    from accord.checkpoint.store import Store

    toy.train(folder, {"steps": 1, "max_grad_norm": limit})
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    return {n: t for n, t in checkpoint.tensors().items() if n.endswith("/exp_avg")}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_at_every_step_ends_in_the_same_bytes(
    tmp_path: Path, optimizer: str, precision: str
) -> None:
    settings = {
        "optimizer": optimizer,
        "precision": precision,
        "micro_batch_size": 4,
        "warmup_steps": 2,
        "save_every": 1,
    }
    whole = toy.state(tmp_path / "whole", settings)
    for stop in range(1, 6):
        folder = tmp_path / f"stop{stop}"
        with pytest.raises(_Killed):
            _train_until(folder, settings, stop)
        assert same_bytes(toy.state(folder, settings), whole)
        assert [line["step"] for line in log(folder)] == [1, 2, 3, 4, 5, 6]


class _Killed(Exception):
    pass


def _train_until(folder: Path, settings: dict[str, object], stop: int) -> None:
    """Break off while step `stop` is being computed, after its first micro-batch."""
    chosen = toy.config(**settings)
    source = toy.Rows(6, 8)
    calls = iter(range(1000))

    def step(model: nn.Module, batch: TokenBatch) -> Loss:
        if next(calls) == 2 * stop + 1:
            raise _Killed
        return toy.step(model, batch)

    Trainer(toy.model(), step, source, chosen, folder, console=QUIET).fit()


def test_lines_of_steps_taken_again_are_cut_from_the_log(tmp_path: Path) -> None:
    settings = {"save_every": 2, "micro_batch_size": 4}
    with pytest.raises(_Killed):
        _train_until(tmp_path, settings, 3)
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3]
    toy.train(tmp_path, settings)
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = toy.state(tmp_path, {})
    written = (tmp_path / "accord" / "metrics.jsonl").read_bytes()
    assert same_bytes(toy.state(tmp_path, {}), first)
    assert (tmp_path / "accord" / "metrics.jsonl").read_bytes() == written


def test_resume_false_starts_afresh(tmp_path: Path) -> None:
    toy.train(tmp_path, {"lr": 0.5})
    fresh = toy.state(tmp_path, {"resume": False})
    assert same_bytes(fresh, toy.state(tmp_path / "other", {}))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    toy.train(tmp_path, {})
    with pytest.raises(AccordError, match=r"lr was 0\.01 and is 0\.02"):
        toy.train(tmp_path, {"lr": 2e-2})


def test_a_step_that_is_not_finite_is_skipped_and_its_rows_are_named(tmp_path: Path) -> None:
    source = toy.Rows(4, 8)
    poison = source.rows(2)[3].row_id
    trainer = _poisoned(tmp_path, source, poison, micro=1)
    result = trainer.fit()
    lines = log(tmp_path)
    skipped = [line for line in lines if "skipped_rows" in line]
    assert result.skipped == len(skipped) > 0
    assert all(line["skipped_rows"] == [poison] for line in skipped)
    assert 3 in [line["step"] for line in skipped]
    assert all(torch.isfinite(t).all() for t in trainer.export_state().values())
    for line in (tmp_path / "accord" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_skipped_step_leaves_weights_and_optimiser_as_they_are(tmp_path: Path) -> None:
    source = toy.Rows(1, 8)
    trainer = _poisoned(tmp_path, source, source.rows(0)[0].row_id, micro=4)
    trainer.fit()
    assert same_bytes(
        trainer.export_state(), {n: p.detach() for n, p in toy.model().named_parameters()}
    )


def test_five_bad_steps_in_a_row_end_the_run_and_nothing_bad_is_saved(tmp_path: Path) -> None:
    source = toy.Rows(9, 24)  # every step sees every row
    trainer = _poisoned(tmp_path, source, "row3", micro=24, batch_size=24)
    with pytest.raises(AccordError, match="5 steps in a row"):
        trainer.fit()
    from accord.checkpoint.store import Store

    checkpoint = Store(tmp_path / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    assert all(torch.isfinite(t).all() for t in checkpoint.tensors().values())


def _poisoned(folder: Path, source: toy.Rows, row: str, micro: int, batch_size: int = 8) -> Trainer:
    def step(model: nn.Module, batch: TokenBatch) -> Loss:
        loss = toy.step(model, batch)
        return replace(loss, total=loss.total * (float("nan") if row in batch.row_ids else 1.0))

    chosen = toy.config(steps=source.steps, batch_size=batch_size, micro_batch_size=micro)
    return Trainer(toy.model(), step, source, chosen, folder, console=QUIET)


def test_evaluation_is_the_same_whatever_the_micro_batch(tmp_path: Path) -> None:
    toy.train(tmp_path / "one", {"eval_every": 2, "micro_batch_size": 8})
    toy.train(tmp_path / "two", {"eval_every": 2, "micro_batch_size": 3})
    for a, b in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert ("eval_loss" in a) == (a["step"] % 2 == 0)
        if "eval_loss" in a:
            assert a["eval_loss"] == pytest.approx(b["eval_loss"], rel=1e-5)


def test_pairs_and_epochs_are_logged_where_they_mean_something(tmp_path: Path) -> None:
    chosen = toy.config(steps=None, epochs=2.0)
    source = toy.Rows(6, 8)
    Trainer(
        toy.model(), toy.step, source, chosen, tmp_path, console=QUIET, unit="pairs"
    ).fit()  # fmt: skip
    lines = log(tmp_path)
    assert [line["epoch"] for line in lines] == pytest.approx([i / 3 for i in range(1, 7)])
    assert all(line["pairs_per_second"] > 0 for line in lines)


def test_gradient_checkpointing_changes_no_byte_and_leaves_no_trace(tmp_path: Path) -> None:
    plain = toy.state(tmp_path / "plain", {})
    assert same_bytes(toy.state(tmp_path / "saved", {"gradient_checkpointing": True}), plain)


def test_tensorboard_mirrors_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    toy.train(tmp_path, {"trackers": ["tensorboard"]})
    assert list((tmp_path / "accord" / "tensorboard").glob("events*"))


def test_after_training_the_model_holds_the_float32_masters(tmp_path: Path) -> None:
    decoder = toy.model()
    chosen = toy.config(precision="bf16")
    trainer = Trainer(decoder, toy.step, toy.Rows(6, 8), chosen, tmp_path, console=QUIET)
    trainer.fit()
    assert same_bytes(
        trainer.export_state(), {n: p.detach() for n, p in decoder.named_parameters()}
    )
    assert decoder.head_weight_VD.dtype is torch.float32


def test_bf16_follows_fp32(tmp_path: Path) -> None:
    toy.train(tmp_path / "fp32", {"steps": 20})
    toy.train(tmp_path / "bf16", {"steps": 20, "precision": "bf16"})
    exact, rounded = log(tmp_path / "fp32")[-1]["loss"], log(tmp_path / "bf16")[-1]["loss"]
    assert rounded == pytest.approx(exact, rel=2e-2)
