"""The fused head says what full log-softmax says, and holds less."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accord.objectives.logprobs import token_kl, token_logps, weighted_nll

from .twins import (
    allowed_mask,
    full_entropies,
    full_logps,
    gradients,
    head_case,
    masked_logps,
)

CHUNKS = [1, 3, 7, 64, None]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_weighted_nll_equals_its_twin(chunk: int | None) -> None:
    hidden, head, target, weight = head_case(23, 5, 31)
    total, stats = weighted_nll(hidden, head, target, weight, chunk=chunk)
    slow = -(full_logps(hidden, head, target) * weight).sum()
    assert total.item() == pytest.approx(slow.item(), abs=1e-8)
    for fast, twin in zip(
        gradients(3 * total, hidden, head), gradients(3 * slow, hidden, head), strict=True
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    torch.testing.assert_close(stats.entropy_S, full_entropies(hidden, head), atol=1e-8, rtol=0)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("keep_bytes", [0, 8 * 31 * 10, 1 << 20])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logps_equal_their_twin(
    chunk: int | None, keep_bytes: int, temperature: float
) -> None:
    hidden, head, target, weight = head_case(23, 5, 31)
    logps, stats = token_logps(
        hidden, head, target, temperature=temperature, chunk=chunk, keep_bytes=keep_bytes
    )
    slow = full_logps(hidden, head, target, temperature)
    torch.testing.assert_close(logps, slow, atol=1e-8, rtol=0)
    for fast, twin in zip(
        gradients((logps * weight).sin().sum(), hidden, head),
        gradients((slow * weight).sin().sum(), hidden, head),
        strict=True,
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    entropy = full_entropies(hidden, head, temperature)
    torch.testing.assert_close(stats.entropy_S, entropy, atol=1e-8, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 20),
    vocabulary=st.integers(1, 40),
    chunk=st.integers(1, 25),
    keep_rows=st.integers(0, 25),
    seed=st.integers(0, 1000),
)
def test_results_do_not_depend_on_the_chunk(
    tokens: int, vocabulary: int, chunk: int, keep_rows: int, seed: int
) -> None:
    hidden, head, target, weight = head_case(tokens, 4, vocabulary, seed)
    keep_bytes = keep_rows * vocabulary * 8
    whole = weighted_nll(hidden, head, target, weight, chunk=tokens)[0]
    parts = weighted_nll(hidden, head, target, weight, chunk=chunk)[0]
    logps = token_logps(hidden, head, target, chunk=chunk, keep_bytes=keep_bytes)[0]
    by_token = -(logps * weight).sum()
    expected = gradients(whole, hidden, head)
    for total in (parts, by_token):
        torch.testing.assert_close(total, whole, atol=1e-9, rtol=1e-9)
        for fast, twin in zip(gradients(total, hidden, head), expected, strict=True):
            torch.testing.assert_close(fast, twin, atol=1e-9, rtol=1e-9)


def test_gradcheck_of_both_heads() -> None:
    hidden, head, target, weight = head_case(6, 3, 5)
    torch.autograd.gradcheck(
        lambda h, w: weighted_nll(h, w, target, weight, chunk=4)[0], (hidden, head)
    )
    for keep_bytes in (0, 1 << 20):
        torch.autograd.gradcheck(
            lambda h, w, k=keep_bytes: token_logps(
                h, w, target, temperature=1.3, chunk=4, keep_bytes=k
            )[0],
            (hidden, head),
        )


def test_numbers_by_hand() -> None:
    # Logits (0, log 3): p = (1/4, 3/4). Targets 0 and 1, weights 2 and 1.
    hidden = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    head = torch.tensor([[0.0], [math.log(3)]], dtype=torch.float64, requires_grad=True)
    target, weight = torch.tensor([0, 1]), torch.tensor([2.0, 1.0])
    total, stats = weighted_nll(hidden, head, target, weight)
    assert total.item() == pytest.approx(2 * math.log(4) + math.log(4 / 3))
    total.backward()
    # Head: 2 (1/4 - 1) + (1/4) = -5/4 and its negative; hidden: row weight * (p - onehot) · head.
    assert head.grad is not None and hidden.grad is not None
    assert head.grad.flatten().tolist() == pytest.approx([-1.25, 1.25])
    assert hidden.grad.flatten().tolist() == pytest.approx(
        [2 * 0.75 * math.log(3), -0.25 * math.log(3)]
    )
    entropy = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert stats.entropy_S.tolist() == pytest.approx([entropy, entropy])
    assert stats.correct_S.tolist() == [0.0, 1.0]


def test_extreme_logits_stay_finite_and_exact() -> None:
    head = torch.tensor([[1000.0], [0.0], [-1000.0]], requires_grad=True)
    hidden = torch.ones(3, 1, requires_grad=True)
    logps, stats = token_logps(hidden, head, torch.tensor([0, 1, 2]))
    assert logps.tolist() == [0.0, -1000.0, -2000.0]
    assert stats.entropy_S.tolist() == [0.0, 0.0, 0.0]
    logps.sum().backward()
    assert head.grad is not None and head.grad.flatten().tolist() == [-2.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_follows_float64(dtype: torch.dtype) -> None:
    hidden, head, target, weight = head_case(150, 16, 300, dtype=dtype)
    weight = weight.float()
    exact = [hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_()]
    slow = -(full_logps(*exact, target) * weight).sum()
    expected = gradients(slow, *exact)
    # bf16 logits carry 8 bits; their log-sum-exp and their sum must add no error of that size.
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    for total in (
        weighted_nll(hidden, head, target, weight, chunk=10)[0],
        -(token_logps(hidden, head, target, chunk=10)[0] * weight).sum(),
        -(token_logps(hidden, head, target, chunk=10, keep_bytes=0)[0] * weight).sum(),
    ):
        assert total.dtype == torch.float32
        assert total.item() == pytest.approx(slow.item(), rel=tolerance)
        for found, twin in zip(gradients(total, hidden, head), expected, strict=True):
            assert found.dtype == dtype
            assert (found.double() - twin).norm() < 4 * tolerance * twin.norm()


def test_bf16_gradient_near_certainty_keeps_its_digits() -> None:
    # p of the target is 1 - 2e-4: rounding p itself to bf16 would give a residual of exactly 0.
    head = torch.tensor([[8.5], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    hidden = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    total, _ = weighted_nll(hidden, head, torch.tensor([0]), torch.ones(1))
    total.backward()
    wrong = 1 / (1 + math.exp(8.5))
    assert head.grad is not None
    assert head.grad.flatten().tolist() == pytest.approx([-wrong, wrong], rel=2**-8)


def test_only_what_needs_a_gradient_gets_one() -> None:
    hidden, head, target, weight = head_case(9, 4, 11)
    for frozen, trained in ((head, hidden), (hidden, head)):
        frozen.requires_grad_(False)
        for total in (
            weighted_nll(hidden, head, target, weight)[0],
            token_logps(hidden, head, target, keep_bytes=0)[0].sum(),
        ):
            slow = full_logps(hidden, head, target)
            slow = -(slow * weight).sum() if total.item() > 0 else slow.sum()
            torch.testing.assert_close(gradients(total, trained), gradients(slow, trained))
        frozen.requires_grad_(True)


def test_backward_twice_gives_twice_the_gradient() -> None:
    hidden, head, target, weight = head_case(9, 4, 11)
    total, _ = weighted_nll(hidden, head, target, weight, chunk=4)
    total.backward(retain_graph=True)
    assert head.grad is not None
    once = head.grad.clone()
    total.backward()
    torch.testing.assert_close(head.grad, 2 * once)


def test_no_scored_tokens() -> None:
    hidden, head, target, weight = head_case(0, 4, 11)
    total, stats = weighted_nll(hidden, head, target, weight)
    assert total.item() == 0 and len(stats.entropy_S) == 0
    total.backward()
    assert head.grad is not None and head.grad.abs().sum().item() == 0
    assert len(token_logps(hidden, head, target)[0]) == 0
    with torch.no_grad():
        assert weighted_nll(hidden, head, target, weight)[0].item() == 0


def test_without_gradient_only_the_logits_are_multiplied() -> None:
    hidden, head, target, weight = head_case(12, 4, 11)
    expected = weighted_nll(hidden, head, target, weight, chunk=4)[0].item()
    with torch.no_grad(), Watch() as watch:
        total, _ = weighted_nll(hidden, head, target, weight, chunk=4)
        logps, _ = token_logps(hidden, head, target, chunk=4)
    assert total.item() == pytest.approx(expected)
    assert -(logps * weight).sum().item() == pytest.approx(expected)
    assert watch.products == 2 * 3
    assert not total.requires_grad and not logps.requires_grad


class Watch(TorchDispatchMode):
    """Notes the largest storage that any operation returns, and counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return result


def test_full_logits_are_never_held() -> None:
    tokens, vocabulary, chunk = 96, 211, 8
    hidden, head, target, weight = head_case(tokens, 3, vocabulary)
    full = tokens * vocabulary * 8
    with Watch() as naive:
        full_logps(hidden, head, target).sum().backward()
    assert naive.largest == full
    with Watch() as watch:
        weighted_nll(hidden, head, target, weight, chunk=chunk)[0].backward()
        token_logps(hidden, head, target, chunk=chunk, keep_bytes=0)[0].sum().backward()
        token_kl(hidden, head, hidden, head, chunk=chunk)
        limits = {"forbidden": torch.tensor([210]), "support": some_support(target, 210)}
        token_logps(hidden, head, target.clamp(max=209), chunk=chunk, keep_bytes=0, **limits)[
            0
        ].sum().backward()
    assert watch.largest <= chunk * vocabulary * 8


@pytest.mark.parametrize(("kept_chunks", "products"), [(0, 12 + 4 * 12), (5, 12 + 4 * 12 - 5)])
def test_kept_chunks_save_a_product_each_and_respect_their_budget(
    kept_chunks: int, products: int
) -> None:
    hidden, head, target, weight = head_case(96, 3, 211)
    del weight
    budget = kept_chunks * 8 * 211 * 8 + 7
    inputs = {hidden.data_ptr(), head.data_ptr(), target.data_ptr()}
    held: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in inputs:
            held.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), Watch() as watch:
        logps, _ = token_logps(hidden, head, target, chunk=8, keep_bytes=budget)
        logps.backward(torch.ones_like(logps))
    assert len(held) == kept_chunks and sum(held) <= budget
    # Forward 12 logit products; backward 12 for hidden, 12 for the head, the rest formed again.
    assert watch.products == products - 12


def test_temperature_must_be_positive() -> None:
    hidden, head, target, _ = head_case(2, 2, 3)
    with pytest.raises(ValueError, match="temperature must be positive, not 0"):
        token_logps(hidden, head, target, temperature=0)


Limits = tuple[Tensor | None, tuple[Tensor, Tensor] | None]


def some_support(target: Tensor, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """For each token its target, in a random place among 0 to 5 others."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for token in target.tolist():
        others = torch.randperm(vocabulary, generator=generator)
        others = others[others != token][: int(torch.randint(6, (), generator=generator))]
        own = torch.cat([others, torch.tensor([token])])
        rows.append(own[torch.randperm(len(own), generator=generator)])
    sizes = torch.tensor([0, *map(len, rows)])
    return torch.cat(rows), sizes.cumsum(0)


def some_limits(kind: str, target: Tensor, vocabulary: int) -> Limits:
    """Forbidden ids that are no target, supports, or both."""
    spare = [v for v in range(vocabulary) if v not in target.tolist()][:2]
    assert len(spare) == 2
    forbidden = torch.tensor(spare) if kind != "support" else None
    return forbidden, some_support(target, vocabulary) if kind != "forbidden" else None


KINDS = ["forbidden", "support", "both"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("keep_bytes", [0, 8 * 31 * 10, 1 << 20])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_limited_logps_equal_a_masked_log_softmax(
    kind: str, chunk: int | None, keep_bytes: int, temperature: float
) -> None:
    hidden, head, target, weight = head_case(23, 5, 31)
    forbidden, support = some_limits(kind, target, 31)
    logps, stats = token_logps(
        hidden,
        head,
        target,
        temperature=temperature,
        forbidden=forbidden,
        support=support,
        chunk=chunk,
        keep_bytes=keep_bytes,
    )
    mask = allowed_mask(23, 31, forbidden, support)
    dense = masked_logps(hidden, head, mask, temperature)
    slow = dense.gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(logps, slow, atol=1e-8, rtol=0)
    for fast, twin in zip(
        gradients((logps * weight).sin().sum(), hidden, head),
        gradients((slow * weight).sin().sum(), hidden, head),
        strict=True,
    ):
        torch.testing.assert_close(fast, twin, atol=1e-8, rtol=0)
    entropy = -(dense.exp() * dense.masked_fill(~mask, 0)).sum(1)
    torch.testing.assert_close(stats.entropy_S, entropy, atol=1e-8, rtol=0)
    assert stats.correct_S.tolist() == (dense.argmax(1) == target).double().tolist()
    with torch.no_grad():
        again, _ = token_logps(
            hidden,
            head,
            target,
            temperature=temperature,
            forbidden=forbidden,
            support=support,
            chunk=chunk,
        )
    torch.testing.assert_close(again, logps, atol=1e-12, rtol=0)


def test_gradcheck_of_the_limited_head() -> None:
    hidden, head, target, _ = head_case(6, 3, 9)
    forbidden, support = some_limits("both", target, 9)
    for keep_bytes in (0, 1 << 20):
        torch.autograd.gradcheck(
            lambda h, w, k=keep_bytes: token_logps(
                h,
                w,
                target,
                temperature=1.3,
                forbidden=forbidden,
                support=support,
                chunk=4,
                keep_bytes=k,
            )[0],
            (hidden, head),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_limited_lower_precision_follows_float64(dtype: torch.dtype, keep_bytes: int) -> None:
    hidden, head, target, weight = head_case(150, 16, 300, dtype=dtype)
    forbidden, support = some_limits("both", target, 300)
    exact = [hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_()]
    dense = masked_logps(exact[0], exact[1], allowed_mask(150, 300, forbidden, support))
    slow = -(dense.gather(1, target[:, None]).squeeze(1) * weight).sum()
    logps, stats = token_logps(
        hidden,
        head,
        target,
        forbidden=forbidden,
        support=support,
        chunk=10,
        keep_bytes=keep_bytes,
    )
    assert logps.dtype == torch.float32 and stats.entropy_S.isfinite().all()
    total = -(logps * weight.float()).sum()
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    assert total.item() == pytest.approx(slow.item(), rel=tolerance)
    for found, twin in zip(gradients(total, hidden, head), gradients(slow, *exact), strict=True):
        assert found.dtype == dtype
        assert (found.double() - twin).norm() < 4 * tolerance * twin.norm()


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
@pytest.mark.parametrize("chunk", [1, 2, None])
def test_a_target_left_out_is_impossible_and_harms_no_other(
    keep_bytes: int, chunk: int | None
) -> None:
    # Token 0's target is not in its support, token 1's is forbidden, token 2 may be nothing.
    hidden, head, _, _ = head_case(5, 3, 7)
    target = torch.tensor([4, 6, 1, 0, 3])
    support = (
        torch.tensor([0, 1, 6, 2, 0, 5, 3, 1, 2]),
        torch.tensor([0, 2, 4, 4, 6, 9]),
    )
    logps, stats = token_logps(
        hidden,
        head,
        target,
        forbidden=torch.tensor([6]),
        support=support,
        chunk=chunk,
        keep_bytes=keep_bytes,
    )
    assert logps[:3].tolist() == [-math.inf] * 3 and logps[3:].isfinite().all()
    assert stats.entropy_S.isfinite().all()
    assert stats.entropy_S[1:3].tolist() == [0.0, 0.0]
    assert stats.correct_S[:3].tolist() == [0.0, 0.0, 0.0]
    # exp(-inf) * NaN and the like: what the loss asks of these tokens may be anything.
    asked = torch.tensor([math.nan, math.inf, 1.0, 1.0, -2.0], dtype=torch.float64)
    found = torch.autograd.grad(logps, (hidden, head), asked)
    assert found[0][:3].abs().sum().item() == 0
    mask = allowed_mask(5, 7, torch.tensor([6]), support)[3:]
    dense = masked_logps(hidden[3:], head, mask)
    twin = gradients((dense.gather(1, target[3:, None]).squeeze(1) * asked[3:]).sum(), hidden, head)
    for fast, slow in zip(found, twin, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-8, rtol=0)


def test_a_support_of_one_token_is_certain() -> None:
    hidden, head, target, _ = head_case(4, 3, 7)
    logps, stats = token_logps(hidden, head, target, support=(target, torch.arange(5)))
    assert logps.tolist() == [0.0] * 4 and stats.entropy_S.abs().max().item() < 1e-12
    assert all(grad.abs().max().item() == 0 for grad in gradients(logps.sum(), hidden, head))


def test_a_full_support_changes_nothing() -> None:
    hidden, head, target, weight = head_case(6, 3, 7)
    full = torch.arange(7).repeat(6), torch.arange(7) * 7
    limited, _ = token_logps(hidden, head, target, support=full, chunk=4)
    free, _ = token_logps(hidden, head, target, chunk=4)
    assert torch.equal(limited, free)
    for one, two in zip(
        gradients((limited * weight).sum(), hidden, head),
        gradients((free * weight).sum(), hidden, head),
        strict=True,
    ):
        assert torch.equal(one, two)


def test_a_support_must_fit_the_tokens() -> None:
    hidden, head, target, _ = head_case(2, 2, 3)
    for offsets in ([0, 2], [0, 1, 1], [1, 1, 2]):
        with pytest.raises(ValueError, match="a support of 2 tokens needs 3 offsets from 0 to 2"):
            token_logps(hidden, head, target, support=(torch.tensor([0, 1]), torch.tensor(offsets)))


def test_no_tokens_under_a_support() -> None:
    hidden, head, target, _ = head_case(0, 2, 3)
    support = torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    logps, _ = token_logps(hidden, head, target, forbidden=torch.tensor([0]), support=support)
    assert len(logps) == 0
    assert gradients(logps.sum(), head)[0].abs().sum().item() == 0


@pytest.mark.parametrize("chunk", [1, 5, None])
def test_token_kl_equals_its_twin(chunk: int | None) -> None:
    hidden, head, _, _ = head_case(13, 5, 17, seed=1)
    ref_hidden, ref_head, _, _ = head_case(13, 3, 17, seed=2)
    logps, ref = (
        torch.log_softmax(h @ w.T, -1) for h, w in ((hidden, head), (ref_hidden, ref_head))
    )
    found = token_kl(hidden, head, ref_hidden, ref_head, chunk=chunk)
    torch.testing.assert_close(found, (logps.exp() * (logps - ref)).sum(-1).detach())
    assert not found.requires_grad and (found > 0).all()
    assert token_kl(hidden, head, hidden, head).abs().max().item() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_cuda_follows_the_twin(dtype: torch.dtype) -> None:
    hidden, head, target, weight = head_case(150, 16, 300, dtype=dtype)
    hidden, head = (t.detach().cuda().requires_grad_() for t in (hidden, head))
    target, weight = target.cuda(), weight.float().cuda()
    exact = [t.detach().double().requires_grad_() for t in (hidden, head)]
    slow = -(full_logps(*exact, target) * weight).sum()
    expected = gradients(slow, *exact)
    tolerance = 1e-8 if dtype == torch.float64 else 2**-6
    for total in (
        weighted_nll(hidden, head, target, weight, chunk=40)[0],
        -(token_logps(hidden, head, target, chunk=40, keep_bytes=0)[0] * weight).sum(),
    ):
        for found, twin in zip(gradients(total, hidden, head), expected, strict=True):
            assert (found.double() - twin).norm() < tolerance * twin.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_cuda_follows_the_twin_under_limits(dtype: torch.dtype) -> None:
    hidden, head, target, weight = head_case(150, 16, 300, dtype=dtype)
    forbidden, support = some_limits("both", target, 300)
    assert forbidden is not None and support is not None
    mask = allowed_mask(150, 300, forbidden, support).cuda()
    hidden, head = (t.detach().cuda().requires_grad_() for t in (hidden, head))
    exact = [t.detach().double().requires_grad_() for t in (hidden, head)]
    dense = masked_logps(*exact, mask).gather(1, target.cuda()[:, None]).squeeze(1)
    expected = gradients((dense * weight.cuda()).sum(), *exact)
    limits = {"forbidden": forbidden.cuda(), "support": tuple(t.cuda() for t in support)}
    tolerance = 1e-8 if dtype == torch.float64 else 2**-6
    for keep_bytes in (0, 1 << 20):
        logps, _ = token_logps(
            hidden, head, target.cuda(), chunk=40, keep_bytes=keep_bytes, **limits
        )
        total = (logps * weight.cuda()).sum()
        for found, twin in zip(gradients(total, hidden, head), expected, strict=True):
            assert (found.double() - twin).norm() < tolerance * twin.norm()
