"""The slow, obvious forms that the fused head and the losses are held against (float64)."""

import torch
from torch import Tensor


def full_logps(
    hidden_SD: Tensor, head_VD: Tensor, target_S: Tensor, temperature: float = 1.0
) -> Tensor:
    logps_SV = torch.log_softmax(hidden_SD @ head_VD.T / temperature, -1)
    return logps_SV.gather(1, target_S[:, None]).squeeze(1)


def full_entropies(hidden_SD: Tensor, head_VD: Tensor, temperature: float = 1.0) -> Tensor:
    logps_SV = torch.log_softmax(hidden_SD @ head_VD.T / temperature, -1)
    return -(logps_SV.exp() * logps_SV).sum(-1)


def head_case(
    tokens: int, width: int, vocabulary: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, head, targets and positive weights."""
    generator = torch.Generator().manual_seed(seed)
    hidden_SD = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
    head_VD = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    target_S = torch.randint(vocabulary, (tokens,), generator=generator)
    weight_S = torch.rand(tokens, generator=generator, dtype=torch.float64) + 0.5
    return (
        hidden_SD.to(dtype).requires_grad_(),
        head_VD.to(dtype).requires_grad_(),
        target_S,
        weight_S,
    )


def gradients(total: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total, inputs)


def allowed_mask(
    tokens: int, vocabulary: int, forbidden: Tensor | None, support: tuple[Tensor, Tensor] | None
) -> Tensor:
    """[S, V], True where a token may be predicted."""
    mask_SV = torch.ones(tokens, vocabulary, dtype=torch.bool)
    if support is not None:
        ids, offsets = support
        for s in range(tokens):
            own = set(ids[int(offsets[s]) : int(offsets[s + 1])].tolist())
            mask_SV[s] = torch.tensor([v in own for v in range(vocabulary)])
    if forbidden is not None:
        mask_SV[:, forbidden] = False
    return mask_SV


def masked_logps(
    hidden_SD: Tensor, head_VD: Tensor, mask_SV: Tensor, temperature: float = 1.0
) -> Tensor:
    """Log-softmax over the allowed tokens of each row: [S, V], -inf elsewhere."""
    logits_SV = hidden_SD @ head_VD.T / temperature
    return torch.log_softmax(logits_SV.masked_fill(~mask_SV, -torch.inf), -1)
