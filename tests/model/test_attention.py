"""The attention kernel against softmax(q k / sqrt(d)) v, written out in float64."""

import pytest
import torch

from accord.model.attention import as_bias, attention, causal_attention


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sees: torch.Tensor) -> torch.Tensor:
    group = q.shape[1] // k.shape[1]
    out = torch.zeros_like(q)
    for b, h in ((b, h) for b in range(q.shape[0]) for h in range(q.shape[1])):
        scores = q[b, h] @ k[b, h // group].T / q.shape[-1] ** 0.5
        out[b, h] = scores.masked_fill(~sees[b], float("-inf")).softmax(-1) @ v[b, h // group]
    return out


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_attention_and_gradients_are_the_formula(
    kv_heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(kv_heads)
    q = torch.randn(2, 4, 6, 8, generator=generator).to(dtype)
    k, v = (torch.randn(2, kv_heads, 6, 8, generator=generator).to(dtype) for _ in range(2))
    grad = torch.randn(2, 4, 6, 8, generator=generator).to(dtype)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    sees = torch.stack((causal, causal & (torch.rand(6, 6, generator=generator) > 0.5)))
    sees |= torch.eye(6, dtype=torch.bool)
    plain = causal.expand(2, 6, 6)
    for mask in (sees, plain):
        ours = [x.clone().requires_grad_() for x in (q, k, v)]
        twins = [x.double().requires_grad_() for x in (q, k, v)]
        if mask is plain:
            out = causal_attention(*ours)
        else:
            out = attention(*ours, as_bias(mask, dtype)[:, None])
        want = by_hand(*twins, mask)
        out.backward(grad)
        want.backward(grad.double())
        for got, expected in zip(
            (out, *(x.grad for x in ours)), (want, *(x.grad for x in twins)), strict=True
        ):
            assert got is not None and expected is not None
            assert (got.double() - expected).abs().max() / expected.abs().max() < tolerance
