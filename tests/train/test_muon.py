import math

import pytest
import torch
from torch import Tensor

from accord.train.muon import Muon, orthogonalise
from accord.train.parallel import Ranks

ONE = Ranks(0, 1, torch.device("cpu"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 40, 16), (2, 16, 40)])
def test_singular_values_go_to_about_one(shape: tuple[int, ...]) -> None:
    values = torch.linalg.svdvals(orthogonalise(random(*shape)))
    assert values.min() > 0.6 and values.max() < 1.3


def test_singular_vectors_stay() -> None:
    """U f(S) Vᵀ: the iteration is a polynomial in the singular values alone."""
    matrix = random(1, 12, 20).double()
    u, s, vh = torch.linalg.svd(matrix[0], full_matrices=False)
    x = s / s.norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(orthogonalise(matrix)[0], u @ torch.diag(x) @ vh)


def test_a_batch_is_its_matrices_one_by_one() -> None:
    batch = random(3, 8, 24)
    alone = torch.stack([orthogonalise(matrix[None])[0] for matrix in batch])
    torch.testing.assert_close(orthogonalise(batch), alone)


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


@pytest.mark.parametrize("shape", [(16, 16), (40, 16), (16, 40)])
def test_it_agrees_with_torch(shape: tuple[int, int]) -> None:
    """torch.optim.Muon iterates in bfloat16; so does this one when it is asked to."""
    mine, theirs = random(*shape), torch.nn.Parameter(random(*shape))
    settings = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    muon = Muon([mine], [mine.shape], **settings, dtype=torch.bfloat16, ranks=ONE)
    peer = torch.optim.Muon([theirs], **settings)
    for step in range(4):
        mine.grad = random(*shape, seed=step + 1)
        theirs.grad = mine.grad.clone()
        muon.step()
        peer.step()
    assert (mine - theirs).abs().max() < 2e-3
    moved = (mine - random(*shape)).norm()
    assert (mine - theirs).norm() < 0.02 * moved


def test_the_step_is_orthogonal_and_scaled_by_shape() -> None:
    weight = torch.zeros(64, 16)
    muon = Muon([weight], [weight.shape], 0.1, 0.95, 0.0, torch.float32, ONE)
    weight.grad = random(64, 16)
    muon.step()
    values = torch.linalg.svdvals(weight) / (0.1 * math.sqrt(64 / 16))
    assert values.min() > 0.6 and values.max() < 1.3


def test_decay_is_decoupled() -> None:
    weight = torch.ones(4, 4)
    muon = Muon([weight], [weight.shape], 0.1, 0.95, 0.5, torch.float32, ONE)
    weight.grad = torch.zeros(4, 4)
    muon.step()
    torch.testing.assert_close(weight, torch.full((4, 4), 0.95))


def test_parameters_without_a_gradient_are_left_alone() -> None:
    weight = torch.ones(4, 4)
    Muon([weight], [weight.shape], 0.1, 0.95, 0.5, torch.float32, ONE).step()
    assert torch.equal(weight, torch.ones(4, 4))
