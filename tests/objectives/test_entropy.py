"""Log-probability and entropy through the fused head, with the gradients of both."""

import math

import pytest
import torch
from torch import Tensor

from accord.objectives.entropy import token_logps_entropies
from accord.objectives.logprobs import token_logps

from .test_logprobs import KINDS, Watch, some_limits
from .twins import allowed_mask, gradients, head_case, masked_logps


def dense(
    hidden: Tensor, head: Tensor, target: Tensor, mask: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    logps = masked_logps(hidden, head, mask, temperature)
    # 0 log 0 is 0: where a token is left out neither factor may reach the product.
    entropy = -(logps.exp() * logps.masked_fill(~mask, 0)).sum(1)
    return logps.gather(1, target[:, None]).squeeze(1), entropy


@pytest.mark.parametrize("kind", [None, *KINDS])
@pytest.mark.parametrize("chunk", [1, 3, 7, 64, None])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_both_gradients_equal_their_twin(
    kind: str | None, chunk: int | None, temperature: float, share: float
) -> None:
    hidden, head, target, weight = head_case(23, 5, 31)
    forbidden, support = some_limits(kind, target, 31) if kind else (None, None)
    logps, entropy, stats = token_logps_entropies(
        hidden,
        head,
        target,
        temperature=temperature,
        forbidden=forbidden,
        support=support,
        chunk=chunk,
    )
    slow = dense(hidden, head, target, allowed_mask(23, 31, forbidden, support), temperature)
    torch.testing.assert_close((logps, entropy), slow, atol=1e-8, rtol=0)
    assert not stats.entropy_S.requires_grad and torch.equal(stats.entropy_S, entropy)
    totals = [
        ((1 - share) * (l * weight).sin() + share * (e * weight).sin()).sum()
        for l, e in ((logps, entropy), slow)
    ]
    for fast, twin in zip(
        *(gradients(total, hidden, head) for total in totals),
        strict=True,
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)


def test_gradcheck() -> None:
    hidden, head, target, _ = head_case(6, 3, 9)
    forbidden, support = some_limits("both", target, 9)
    torch.autograd.gradcheck(
        lambda h, w: token_logps_entropies(
            h, w, target, temperature=1.3, forbidden=forbidden, support=support, chunk=4
        )[:2],
        (hidden, head),
    )


def test_a_bonus_raises_the_entropy_and_nothing_is_left_at_its_maximum() -> None:
    hidden, head, target, _ = head_case(5, 3, 7)
    entropy = token_logps_entropies(hidden, head, target)[1]
    moved = (head + 0.01 * gradients(entropy.sum(), head)[0]).detach()
    assert token_logps_entropies(hidden, moved, target)[1].sum() > entropy.sum()
    flat = torch.zeros_like(head, requires_grad=True)
    top = token_logps_entropies(hidden, flat, target)[1]
    assert top.tolist() == pytest.approx([math.log(7)] * 5)
    assert gradients(top.sum(), flat)[0].abs().max().item() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_follows_float64(dtype: torch.dtype) -> None:
    hidden, head, target, weight = head_case(150, 16, 300, dtype=dtype)
    forbidden, support = some_limits("both", target, 300)
    exact = [t.detach().double().requires_grad_() for t in (hidden, head)]
    logps, entropy = dense(*exact, target, allowed_mask(150, 300, forbidden, support))
    expected = gradients(((logps + entropy) * weight).sum(), *exact)
    logps, entropy, _ = token_logps_entropies(
        hidden, head, target, forbidden=forbidden, support=support, chunk=10
    )
    found = gradients(((logps + entropy) * weight.float()).sum(), hidden, head)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    for one, twin in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert (one.double() - twin).norm() < 4 * tolerance * twin.norm()


def test_a_target_left_out_harms_no_other() -> None:
    hidden, head, _, _ = head_case(3, 3, 7)
    target = torch.tensor([4, 1, 0])
    support = torch.tensor([0, 1, 0, 5]), torch.tensor([0, 2, 2, 4])
    logps, entropy, _ = token_logps_entropies(hidden, head, target, support=support, chunk=2)
    assert logps[:2].tolist() == [-math.inf] * 2 and entropy[1].item() == 0
    asked = torch.tensor([math.nan, math.inf, 1.0], dtype=torch.float64)
    found = torch.autograd.grad((logps, entropy), (hidden, head), (asked, asked))
    slow = dense(hidden[2:], head, target[2:], allowed_mask(3, 7, None, support)[2:])
    expected = gradients((slow[0] + slow[1]).sum(), hidden, head)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


def test_numbers_are_those_of_token_logps_and_no_more_is_held() -> None:
    hidden, head, target, _ = head_case(96, 3, 211)
    with Watch() as watch:
        logps, entropy, stats = token_logps_entropies(hidden, head, target, chunk=8)
        (logps + entropy).sum().backward()
    assert watch.largest <= 8 * 211 * 8 and watch.products == 4 * 12
    plain, other = token_logps(hidden, head, target, chunk=8)
    assert torch.equal(plain, logps) and torch.equal(stats.correct_S, other.correct_S)
    with torch.no_grad():
        assert torch.equal(token_logps_entropies(hidden, head, target)[0], plain)


def test_nothing_to_score_and_no_temperature() -> None:
    hidden, head, target, _ = head_case(0, 2, 3)
    logps, entropy, _ = token_logps_entropies(hidden, head, target)
    assert gradients((logps.sum() + entropy.sum()), head)[0].abs().sum().item() == 0
    with pytest.raises(ValueError, match="temperature must be positive, not 0"):
        token_logps_entropies(hidden, head, target, temperature=0)
