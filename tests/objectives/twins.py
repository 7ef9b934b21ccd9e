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
