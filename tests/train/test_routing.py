"""Router losses in the loop: what is added, and that splitting a step changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
import train_toy as toy
from moe_toy import Sized, moe, train
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from accord.checkpoint.store import Store
from accord.model.moe import moe_layers, recorded
from accord.model.plan import Plan
from accord.train import Trainer
from accord.train.metrics import read_log
from accord.train.microbatch import StepModule
from accord.train.parallel import Ranks, launch
from accord.train.routing import RouterLosses

CPU = torch.device("cpu")


def trained(folder: Path, **settings: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Adam's first moments after one step, a tenth of its gradient, and the log's line."""
    config = toy.config(steps=1, max_grad_norm=None, **settings)
    Trainer(moe(), toy.step, Sized(1, 8), config, folder, console=Console(quiet=True)).fit()
    checkpoint = Store(folder / "accord" / "checkpoints").latest()
    assert checkpoint is not None
    moments = {n: t for n, t in checkpoint.tensors().items() if n.endswith("/exp_avg")}
    return moments, read_log(folder / "accord" / "metrics.jsonl")[0]


def by_hand() -> tuple[dict[str, Tensor], float, float]:
    """Gradients of nll + 0.5 load balancing + 0.1 z over the whole batch, and the last two."""
    decoder = moe()
    batch = toy.Rows(1, 8).collate(toy.Rows(1, 8).rows(0))
    with recorded(moe_layers(decoder)) as seen:
        loss = toy.step(decoder, batch)
    logits = torch.stack([layer[0].logits_NE for layer in seen])
    p = logits.softmax(-1)
    used = torch.zeros_like(p).scatter(2, p.topk(2, -1).indices, 1.0)
    aux = 4 * (used.mean(1) * p.mean(1)).sum(1).mean()
    z = logits.logsumexp(-1).square().mean()
    (loss.total / loss.weight + 0.5 * aux + 0.1 * z).backward()
    found = {n: w.grad for n, w in decoder.named_parameters() if w.grad is not None}
    return found, aux.item(), z.item()


@pytest.mark.parametrize(
    "split",
    [{}, {"micro_batch_size": 1}, {"micro_batch_size": 3}, {"micro_batch_tokens": 20}],
    ids=["whole", "one by one", "threes", "tokens"],
)
def test_the_gradient_is_that_of_the_whole_step_however_it_is_split(
    tmp_path: Path, split: dict[str, object]
) -> None:
    wanted, aux, z = by_hand()
    moments, line = trained(tmp_path, **split)
    for name, gradient in wanted.items():
        moment = moments[f"optimizer/{name}/exp_avg"]
        torch.testing.assert_close(moment, 0.1 * gradient, atol=2e-7, rtol=1e-4)
    assert line["aux_loss"] == pytest.approx(aux, rel=1e-5)
    assert line["z_loss"] == pytest.approx(z, rel=1e-5)


def test_the_logged_loss_is_the_objective_alone(tmp_path: Path) -> None:
    batch = toy.Rows(1, 8).collate(toy.Rows(1, 8).rows(0))
    loss = toy.step(moe(), batch)
    line = trained(tmp_path)[1]
    assert line["loss"] == pytest.approx((loss.total / loss.weight).item(), rel=1e-5)


def test_shares_are_logged_over_all_that_was_routed(tmp_path: Path) -> None:
    decoder = moe()
    batch = toy.Rows(1, 8).collate(toy.Rows(1, 8).rows(0))
    with recorded(moe_layers(decoder)) as seen:
        toy.step(decoder, batch)
    counts = torch.stack(
        [layer[0].ends_E.diff(prepend=torch.zeros(1, dtype=torch.int32)) for layer in seen]
    )
    tokens = batch.ids_N.numel()
    line = trained(tmp_path, micro_batch_size=2)[1]
    assert line["router/load_max"] == pytest.approx(counts.max().item() * 4 / (2 * tokens))
    assert line["router/load_min"] == pytest.approx(counts.min().item() * 4 / (2 * tokens))
    assert line["router/busiest"] == pytest.approx(counts.max().item() / tokens)
    assert line["router/dead_experts"] == (counts == 0).sum().item()
    assert line["router/dropped"] == 0.0
    assert 0 < line["router/entropy"] < torch.log(torch.tensor(4.0)).item()


def test_a_stage_sets_its_own_coefficients(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "a", router_aux_loss_coef=0.0, router_z_loss_coef=0.0)
    model, _ = trained(tmp_path / "b")
    same, _ = trained(tmp_path / "c", router_aux_loss_coef=0.5, router_z_loss_coef=0.1)
    name = "optimizer/layers.0.mlp.router.weight/exp_avg"
    assert torch.equal(model[name], same[name])
    assert (plain[name] - model[name]).abs().max() > 1e-4


def test_a_pass_without_gradient_adds_nothing() -> None:
    decoder = moe()
    routers = RouterLosses.of(decoder, toy.config(), Ranks(0, 1, CPU))
    assert routers is not None
    root = StepModule(decoder, toy.step, routers)
    batch = toy.Rows(1, 8).collate(toy.Rows(1, 8).rows(0))
    with torch.no_grad():
        _, _, metrics, extra = root(batch)
    assert extra.item() == 0
    assert not {"aux_loss", "z_loss"} & metrics.keys()
    assert root(batch)[3].item() > 0


def test_a_model_without_experts_has_no_router_losses(tmp_path: Path) -> None:
    assert RouterLosses.of(toy.model(), toy.config(), Ranks(0, 1, CPU)) is None
    toy.train(tmp_path, {"steps": 1})
    assert "aux_loss" not in read_log(tmp_path / "accord" / "metrics.jsonl")[0]


@pytest.mark.parametrize(
    "settings", [{"gradient_checkpointing": True}, {"precision": "bf16"}, {"optimizer": "muon"}]
)
def test_it_trains_under_every_setting_and_the_balance_improves(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    config = toy.config(steps=12, micro_batch_size=4, router_aux_loss_coef=2.0, **settings)
    Trainer(moe(), toy.step, Sized(12, 8), config, tmp_path, console=Console(quiet=True)).fit()
    lines = read_log(tmp_path / "accord" / "metrics.jsonl")
    assert lines[-1]["aux_loss"] < lines[0]["aux_loss"]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_cached_decoding_of_a_trained_mixture_equals_reading_it_anew() -> None:
    from accord.model.cache import KVCache

    decoder, ids = moe(), torch.arange(12) % 37
    with torch.no_grad():
        whole = decoder(ids, torch.arange(12), Plan.dense(1, 12))
        cache = KVCache(decoder.config, 1, 12, torch.float32, "cpu")
        parts = []
        attend = cache.prefill([0], [5])
        parts.append(decoder(ids[:5], attend.position_N, attend))
        for token in ids[5:]:
            attend = cache.step([0])
            parts.append(decoder(token[None], attend.position_N, attend))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, 1], ids=["whole", "one by one"])
def test_two_ranks_train_as_one(tmp_path: Path, size: int | None) -> None:
    for name, ranks in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        launch(train, ranks, tmp_path / name, {"micro_batch_size": size})
    one, two = (load_file(tmp_path / name / "final.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=5e-5, rtol=0)
    lines = [read_log(tmp_path / n / "accord" / "metrics.jsonl")[1] for n in ("one", "two")]
    for name in ("loss", "aux_loss", "z_loss", "router/load_max", "router/busiest"):
        assert lines[1][name] == pytest.approx(lines[0][name], rel=1e-5)
