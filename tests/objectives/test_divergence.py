"""Scores of the divergences: their formulas, their limits and their range."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.objectives.divergence import DIVERGENCES, scores

from .twins import gradients

F64 = torch.float64


@settings(deadline=None, max_examples=40)
@given(u=st.floats(-20, 20), alpha=st.floats(0.1, 3.0).filter(lambda a: abs(a - 1) > 1e-2))
def test_scores_are_the_derivatives_of_the_divergences(u: float, alpha: float) -> None:
    """f of each divergence D_f(π || π_ref) = E_ref f(t); its derivative, without its value at 1."""
    functions = {
        "reverse_kl": lambda t: t * torch.log(t),
        "forward_kl": lambda t: -torch.log(t),
        "js_divergence": lambda t: t * torch.log(t) - (t + 1) * torch.log((t + 1) / 2),
        "alpha_divergence": lambda t: (t**alpha - alpha * t + alpha - 1) / (alpha * (alpha - 1)),
    }
    logratio = torch.tensor([u], dtype=F64)
    for name, function in functions.items():
        slopes = []
        for at in (math.exp(u), 1.0):
            t = torch.tensor(at, dtype=F64, requires_grad=True)
            slopes.append(gradients(function(t), t)[0].item())
        expected = slopes[0] - slopes[1]
        assert scores(logratio, name, alpha).item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_scores_grow_with_the_ratio_and_pass_gradcheck(name: str) -> None:
    logratio = torch.linspace(-5, 5, 11, dtype=F64, requires_grad=True)
    found = scores(logratio, name, 0.4)
    assert (found.diff() > 0).all()
    assert torch.autograd.gradcheck(lambda u: scores(u, name, 0.4), logratio)
    # At the reference a score is 0, and its slope in log t is 1 (of js 1/2).
    here = torch.zeros(1, dtype=F64, requires_grad=True)
    value = scores(here, name, 0.4)
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert gradients(value, here)[0].item() == pytest.approx(0.5 if name.startswith("js") else 1)


def test_alpha_divergence_runs_from_forward_to_reverse_kl() -> None:
    logratio = torch.linspace(-3, 3, 7, dtype=F64)
    for alpha, name in ((1 + 1e-9, "reverse_kl"), (1 - 1e-9, "reverse_kl"), (1e-9, "forward_kl")):
        torch.testing.assert_close(
            scores(logratio, "alpha_divergence", alpha), scores(logratio, name, 0.0)
        )
    close = scores(logratio, "alpha_divergence", 1 + 1e-5)
    torch.testing.assert_close(close, logratio, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, F64])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_extreme_ratios_give_finite_scores(name: str, dtype: torch.dtype) -> None:
    logratio = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    for alpha in (0.1, 3.0):
        found = scores(logratio, name, alpha)
        assert found.dtype in {dtype, torch.float32}
        assert found.isfinite().all()
        assert gradients(found.sum(), logratio)[0].isfinite().all()


def test_an_unknown_divergence_is_named_with_its_neighbour() -> None:
    with pytest.raises(AccordError) as error:
        scores(torch.zeros(1), "forward_lk", 0.5)
    assert error.value.fix == "did you mean 'forward_kl'?"
