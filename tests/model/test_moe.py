"""Mixture of experts: against a brute-force twin, grouped against looped, and what is recorded."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.config.model import ModelConfig
from accord.model.decoder import Decoder
from accord.model.moe import (
    MixtureOfExperts,
    can_group,
    grouped,
    looped,
    moe_layers,
    recorded,
    route,
)
from accord.model.plan import Plan

CONFIG = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    num_experts=5,
    num_experts_per_tok=2,
)


def mixture(seed: int = 0, **changes: object) -> MixtureOfExperts:
    layer = MixtureOfExperts(CONFIG.model_copy(update=changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return layer


def rows(count: int, seed: int = 1, width: int = 16) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def brute(layer: MixtureOfExperts, x_ND: Tensor) -> Tensor:
    """Token by token, expert by expert, from the definition."""
    out = []
    for x_D in x_ND:
        chance_E = (layer.router.weight @ x_D).softmax(0)
        best = sorted(range(len(chance_E)), key=lambda e: -chance_E[e].item())[: layer.top_k]
        whole = sum(chance_E[e] for e in best) if layer.normalised else 1.0
        total = torch.zeros_like(x_D)
        for e in best:
            gate_I, up_I = (layer.gate_up.weight[e] @ x_D).chunk(2)
            total = total + chance_E[e] / whole * (
                layer.down.weight[e] @ (gate_I * gate_I.sigmoid() * up_I)
            )
        out.append(total)
    return torch.stack(out)


def gradients(layer: nn.Module, x_ND: Tensor, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [x_ND, *layer.parameters()]))


@pytest.mark.parametrize("normalised", [True, False])
def test_it_is_its_definition_in_float64(normalised: bool) -> None:
    layer = mixture(norm_topk_prob=normalised).double()
    x_ND = rows(9).double().requires_grad_()
    pull_ND = rows(9, seed=2).double()
    ours, theirs = layer(x_ND), brute(layer, x_ND)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    for mine, twin in zip(
        gradients(layer, x_ND, (ours * pull_ND).sum()),
        gradients(layer, x_ND, (theirs * pull_ND).sum()),
        strict=True,
    ):
        torch.testing.assert_close(mine, twin, atol=1e-11, rtol=0)


@given(
    counts=st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_grouped_and_looped_products_and_their_gradients_are_one(
    counts: list[int], seed: int
) -> None:
    x_AI = rows(sum(counts), seed).requires_grad_()
    weight_EOI = torch.randn(len(counts), 8, 16, generator=torch.Generator().manual_seed(seed))
    weight_EOI.requires_grad_()
    ends_E = torch.tensor(counts).cumsum(0).to(torch.int32)
    pull_AO = rows(sum(counts), seed + 1, 8)
    assert can_group(x_AI, weight_EOI)
    found = []
    for product in (grouped, looped):
        out_AO = product(x_AI, weight_EOI, ends_E)
        wanted = torch.autograd.grad((out_AO * pull_AO).sum(), [x_AI, weight_EOI])
        found.append((out_AO, *wanted))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_whole_layer_has_the_gradient_of_the_looped_one() -> None:
    layer, x_ND = mixture(), rows(33).requires_grad_()
    by_groups = gradients(layer, x_ND, layer(x_ND).square().sum())
    twin = mixture().double()  # float64 is looped
    wide_ND = x_ND.detach().double().requires_grad_()
    assert not can_group(wide_ND, twin.down.weight)
    by_loop = gradients(twin, wide_ND, twin(wide_ND).square().sum())
    for one, other in zip(by_groups, by_loop, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


def test_rows_that_torch_cannot_align_are_looped() -> None:
    layer = mixture(moe_intermediate_size=6)
    assert not can_group(rows(3), layer.down.weight)
    torch.testing.assert_close(layer(rows(3)), brute(layer, rows(3)), atol=1e-5, rtol=1e-5)


def test_an_expert_without_tokens_has_a_gradient_of_zeros() -> None:
    layer, x_ND = mixture(), rows(1).abs()
    with torch.no_grad():
        layer.router.weight[:2], layer.router.weight[2:] = 1.0, -1.0
    layer(x_ND).sum().backward()
    assert layer.down.weight.grad is not None
    assert layer.down.weight.grad[2:].abs().max() == 0
    assert layer.down.weight.grad[:2].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_tokens_give_the_same_bytes(dtype: torch.dtype) -> None:
    runs = []
    for _ in range(2):
        layer, x_ND = mixture().to(dtype), rows(200).to(dtype).requires_grad_()
        out_ND = layer(x_ND)
        runs.append([out_ND, *gradients(layer, x_ND, out_ND.square().sum())])
    assert runs[0][0].dtype == dtype
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_a_token_is_worked_on_alike_whoever_is_beside_it() -> None:
    layer, x_ND = mixture(), rows(50)
    torch.testing.assert_close(
        layer(x_ND), torch.cat([layer(x_D[None]) for x_D in x_ND]), atol=2e-5, rtol=0
    )


def test_chosen_weights_add_up_to_one_only_where_asked() -> None:
    logits_NE = rows(6, width=5)
    weight_Nk, expert_Nk = route(logits_NE, 2, True)
    torch.testing.assert_close(weight_Nk.sum(1), torch.ones(6))
    plain_Nk, same_Nk = route(logits_NE, 2, False)
    assert torch.equal(expert_Nk, same_Nk)
    assert (plain_Nk.sum(1) < 1).all()
    torch.testing.assert_close(plain_Nk, logits_NE.softmax(1).gather(1, expert_Nk))


def test_logits_are_recorded_only_while_watched_and_once_under_checkpointing() -> None:
    decoder = Decoder.init(CONFIG, 0)
    layers = moe_layers(decoder)
    for block in decoder.layers:
        plain = block.forward
        block.forward = lambda *a, plain=plain: checkpoint(plain, *a, use_reentrant=False)
    with recorded(layers) as seen:
        hidden_ND = decoder(torch.arange(6), torch.arange(6), Plan.dense(1, 6))
    logits = [own[0].logits_NE for own in seen]
    (hidden_ND.sum() + sum(F.softmax(part, 1).square().sum() for part in logits)).backward()
    assert [len(own) for own in seen] == [1, 1]
    assert [own[0].ends_E[-1].item() for own in seen] == [12, 12]
    assert layers[0].seen is None
    with_router = layers[0].router.weight.grad
    assert with_router is not None and with_router.abs().max() > 0


def test_the_first_experts_are_scaled_as_dense_ones_are() -> None:
    decoder = Decoder.init(CONFIG.model_copy(update={"hidden_size": 128}), 0)
    layer = moe_layers(decoder)[0]
    assert layer.gate_up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.down.weight.std().item() == pytest.approx(0.01, rel=0.05)
