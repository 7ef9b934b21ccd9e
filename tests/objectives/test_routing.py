"""Router losses: against brute force, against transformers, and added up over parts."""

import math

import pytest
import torch
from torch import Tensor

from accord.model.moe import route
from accord.objectives.routing import router_terms

LAYERS, TOKENS, EXPERTS, TOP = 3, 17, 5, 2


def some_logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(LAYERS, TOKENS, EXPERTS, generator=generator, dtype=torch.float64)


def shares(logits_LNE: Tensor) -> Tensor:
    """f of each layer by `route`, as the model chooses."""
    _, chosen = route(logits_LNE, TOP, normalised=True)
    counts = [layer.flatten().bincount(minlength=EXPERTS) for layer in chosen]
    return torch.stack(counts).double() / logits_LNE.shape[1]


def brute(logits_LNE: Tensor) -> tuple[Tensor, Tensor, float]:
    """All three as means over layers."""
    aux, z, entropy = zip(*(brute_layer(list(layer)) for layer in logits_LNE), strict=True)
    return torch.stack(aux).mean(), torch.stack(z).mean(), sum(entropy) / len(entropy)


def brute_layer(rows: list[Tensor]) -> tuple[Tensor, Tensor, float]:
    """All three, row by row and expert by expert."""
    used, chance = [0] * EXPERTS, [torch.zeros((), dtype=torch.float64) for _ in range(EXPERTS)]
    z, entropy = torch.zeros((), dtype=torch.float64), 0.0
    for row in rows:
        whole = sum(torch.exp(value) for value in row)
        p = [torch.exp(value) / whole for value in row]
        for e in sorted(range(EXPERTS), key=lambda e: -p[e].item())[:TOP]:
            used[e] += 1
        chance = [total + mine for total, mine in zip(chance, p, strict=True)]
        z = z + torch.log(torch.as_tensor(whole)) ** 2
        entropy -= sum(mine.item() * math.log(mine.item()) for mine in p)
    count = len(rows)
    aux = sum(
        (EXPERTS * (u / count) * (c / count) for u, c in zip(used, chance, strict=True)),
        torch.zeros((), dtype=torch.float64),
    )
    return aux, z / count, entropy / count


def test_terms_and_gradients_are_those_of_the_definition() -> None:
    logits_LNE = some_logits().requires_grad_()
    found, rows = router_terms(logits_LNE, shares(logits_LNE)), LAYERS * TOKENS
    aux, z, entropy = brute(logits_LNE)
    assert found.entropy.item() / rows == pytest.approx(entropy, abs=1e-12)
    for mine, twin in ((found.aux / rows, aux), (found.z / rows, z)):
        torch.testing.assert_close(mine, twin, atol=1e-12, rtol=0)
        one, other = (
            torch.autograd.grad(t, logits_LNE, retain_graph=True)[0] for t in (mine, twin)
        )
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_gradcheck() -> None:
    logits_LNE, share_LE = some_logits().requires_grad_(), shares(some_logits())

    def both(logits: Tensor) -> tuple[Tensor, Tensor]:
        found = router_terms(logits, share_LE)
        return found.aux, found.z

    assert torch.autograd.gradcheck(both, (logits_LNE,))


@pytest.mark.peer
def test_the_balancing_loss_is_transformers_of_each_layer() -> None:
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits_LNE = some_logits().float()
    each = [load_balancing_loss_func((layer,), EXPERTS, TOP) for layer in logits_LNE]
    theirs = sum(each) / LAYERS
    found = router_terms(logits_LNE, shares(logits_LNE))
    torch.testing.assert_close(found.aux / (LAYERS * TOKENS), theirs, atol=1e-6, rtol=0)


def test_parts_of_a_batch_add_up_only_with_the_share_of_all() -> None:
    logits_LNE = some_logits()
    whole = router_terms(logits_LNE, shares(logits_LNE))
    parts = logits_LNE.split([4, 1, 12], dim=1)
    of_all = [router_terms(part, shares(logits_LNE)) for part in parts]
    for name in ("aux", "z", "entropy"):
        total = sum(getattr(part, name) for part in of_all)
        torch.testing.assert_close(total, getattr(whole, name))
    of_each = sum(router_terms(part, shares(part)).aux for part in parts)
    assert abs(float(of_each) - float(whole.aux)) > 0.1


@pytest.mark.parametrize(("chosen", "loss"), [("evenly", 2.0), ("one pair", 5.0)])
def test_even_use_gives_k_and_one_pair_of_experts_gives_all(chosen: str, loss: float) -> None:
    logits_LNE = torch.zeros(1, EXPERTS, EXPERTS)
    share_LE = torch.full((1, EXPERTS), TOP / EXPERTS)
    if chosen == "one pair":
        logits_LNE[..., :TOP] = 50.0
        share_LE = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]])
    found = router_terms(logits_LNE, share_LE)
    assert found.aux.item() / EXPERTS == pytest.approx(loss, rel=1e-5)


def test_layers_that_are_uneven_in_opposite_ways_are_uneven() -> None:
    logits_LNE = torch.zeros(2, 8, 4)
    logits_LNE[0, :, :2] = logits_LNE[1, :, 2:] = 30.0
    share_LE = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    assert router_terms(logits_LNE, share_LE).aux.item() / 16 == pytest.approx(4.0)
