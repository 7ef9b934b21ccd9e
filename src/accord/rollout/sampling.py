"""From logits to a token: penalties, truncation of the distribution, one uniform number a row.

Pure functions on fp32 logits. `truncated` is the plain, dense definition of the distribution that
tokens are drawn from; `draw_` draws from the same distribution without sorting the vocabulary.

Axes: B rows, V vocabulary, K candidates of a row, C blocks of the vocabulary, L history tokens.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.errors import AccordError

BLOCK = 128
"""Draws are cheapest from a vocabulary of a multiple of this: any other is copied to be one."""
_NUCLEUS_WIDTHS = (64, 1024)


def uniforms(seed: int, count: int) -> Tensor:
    """Numbers in [0, 1), float32 [count]: the t-th is a function of the seed and t alone.

    Raises:
        AccordError: The seed is negative.
    """
    if seed < 0:
        raise AccordError(f"seed {seed} is negative", "seeds", "give integers of 0 or more")
    numbers = np.random.Generator(np.random.Philox(seed)).random(count, dtype=np.float32)
    return torch.from_numpy(numbers)


def penalise_repetition(logits_BV: Tensor, history_BL: Tensor, penalty: float) -> Tensor:
    """Make tokens of the history less likely: positive logits divided, negative ones multiplied.

    A row's history may be padded with any token that occurs in it. Source: CTRL, arXiv 1909.05858,
    section 4.1, in the form that transformers gave it.
    """
    seen_BL = logits_BV.gather(1, history_BL)
    seen_BL = torch.where(seen_BL < 0, seen_BL * penalty, seen_BL / penalty)
    return logits_BV.scatter(1, history_BL, seen_BL)


def forbid_ngrams(logits_BV: Tensor, history_BL: Tensor, lengths_B: Tensor, size: int) -> Tensor:
    """Give -inf to every token that would repeat an n-gram of `size` tokens of the row's history.

    Args:
        logits_BV: Logits of the next token.
        history_BL: Prompt and response so far, on the left; what is past `lengths_B` is ignored.
        lengths_B: Tokens of each history.
        size: n.
    """
    columns = history_BL.shape[1]
    if columns < size:
        return logits_BV
    windows_BLn = history_BL.unfold(1, size, 1)
    recent = (lengths_B[:, None] - size + 1) + torch.arange(size - 1, device=lengths_B.device)
    suffix_Bn = history_BL.gather(1, recent.clamp_min(0))
    repeats_BL = (windows_BLn[..., :-1] == suffix_Bn[:, None]).all(-1)
    starts_L = torch.arange(columns - size + 1, device=lengths_B.device)
    repeats_BL &= starts_L + size <= lengths_B[:, None]
    row, start = repeats_BL.nonzero(as_tuple=True)
    return logits_BV.index_put((row, windows_BLn[row, start, -1]), logits_BV.new_tensor(-math.inf))


def truncated(logits_BV: Tensor, sampling: SamplingConfig) -> Tensor:
    """Log-probabilities that tokens are drawn at, -inf outside the support: [B, V].

    Temperature, then top-k, top-p (arXiv 1904.09751) and min-p (arXiv 2407.01082), each on what
    the one before it left. At temperature 0 nothing is drawn: the plain log-probabilities.
    """
    if sampling.temperature == 0:
        return logits_BV.log_softmax(-1)
    ordered_BV, ids_BV = torch.sort(
        logits_BV / sampling.temperature, dim=-1, descending=True, stable=True
    )
    if sampling.top_k:
        ordered_BV[:, sampling.top_k :] = -math.inf
    weights_BV = _truncate(ordered_BV.softmax(-1), sampling)
    logps_BV = (weights_BV / weights_BV.sum(-1, keepdim=True)).log()
    return torch.empty_like(logps_BV).scatter_(1, ids_BV, logps_BV)


def truncates(sampling: SamplingConfig) -> bool:
    """Whether top-k, top-p or min-p may leave tokens out; at temperature 0 none is drawn."""
    cuts = sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0
    return cuts and sampling.temperature > 0


def supported(logits_BV: Tensor, sampling: SamplingConfig) -> Tensor:
    """True where `truncated` is above -inf, bool [B, V], without a sort of the vocabulary."""
    if not truncates(sampling):
        return logits_BV > -math.inf
    logits_BV = logits_BV / sampling.temperature
    inside_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
    if 0 < sampling.top_k < logits_BV.shape[1]:
        values_BK, ids_BK = logits_BV.topk(sampling.top_k, -1)
        return inside_BV.scatter_(1, ids_BK, _truncate(values_BK.softmax(-1), sampling) > 0)
    probs_BV = _softmax_(logits_BV)
    if sampling.top_p == 1:
        return (probs_BV >= sampling.min_p * probs_BV.amax(-1, keepdim=True)) & (probs_BV > 0)
    for rows, top_BK, ids_BK in _nuclei(probs_BV, sampling.top_p):
        inside_BV[rows] = inside_BV[rows].scatter_(1, ids_BK, _truncate(top_BK, sampling) > 0)
    return inside_BV


def draw_(logits_BV: Tensor, uniform_B: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """One token a row and the log-probability it was drawn at; the logits are overwritten.

    At temperature 0 the likeliest token, with its plain log-probability.

    Args:
        logits_BV: fp32, after penalties; a second buffer of this size would cost more than the
            arithmetic.
        uniform_B: One number in [0, 1) a row, float32.
        sampling: Temperature, top-k, top-p and min-p are read.

    Returns:
        Token ids, int64 [B], and log-probabilities, float32 [B].
    """
    if sampling.temperature == 0:
        token_B = argmax_blocks(logits_BV)
        return token_B, _log_at(_softmax_(logits_BV), token_B)
    if sampling.temperature != 1:
        logits_BV.div_(sampling.temperature)
    if 0 < sampling.top_k < logits_BV.shape[1]:
        values_BK, ids_BK = logits_BV.topk(sampling.top_k, -1)
        return _draw_ordered(values_BK.softmax(-1), ids_BK, uniform_B, sampling)
    probs_BV = _softmax_(logits_BV)
    if sampling.top_p < 1:
        return _draw_nucleus(probs_BV, uniform_B, sampling)
    if sampling.min_p:
        floor_B1 = sampling.min_p * probs_BV.amax(-1, keepdim=True)
        probs_BV.masked_fill_(probs_BV < floor_B1, 0)
        probs_BV.div_(probs_BV.sum(-1, keepdim=True))
    token_B = pick_blocks(probs_BV, uniform_B)
    return token_B, _log_at(probs_BV, token_B)


def pick(weights_BK: Tensor, uniform_B: Tensor) -> Tensor:
    """Inverse CDF: the first index whose cumulative weight exceeds uniform x total, int64 [B].

    An index of weight zero is never returned; weights of NaN give the last one.
    """
    cumulative_BK = weights_BK.cumsum(-1)
    aim_B1 = uniform_B[:, None] * cumulative_BK[:, -1:]
    index_B1 = torch.searchsorted(cumulative_BK, aim_B1, right=True)
    return index_B1[:, 0].clamp_max_(weights_BK.shape[1] - 1)


def pick_blocks(weights_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """`pick` in two levels, first a block of 128 and then the index inside it: one light pass."""
    blocks_BCK = _blocks(weights_BV, 0.0)
    sums_BC = blocks_BCK.sum(-1)
    cumulative_BC = sums_BC.cumsum(-1)
    aim_B1 = uniform_B[:, None] * cumulative_BC[:, -1:]
    block_B1 = torch.searchsorted(cumulative_BC, aim_B1, right=True)
    block_B1.clamp_max_(sums_BC.shape[1] - 1)
    before_B1 = (cumulative_BC - sums_BC).gather(1, block_B1)
    inside_BK = _block(blocks_BCK, block_B1).cumsum(-1)
    last_B1 = inside_BK[:, -1:]
    # the two levels round differently: what is left of the aim must stay inside the block
    left_B1 = (aim_B1 - before_B1).clamp_min_(0)
    left_B1 = torch.minimum(left_B1, torch.nextafter(last_B1, torch.zeros_like(last_B1)))
    index_B1 = torch.searchsorted(inside_BK, left_B1, right=True).add_(block_B1, alpha=BLOCK)
    return index_B1[:, 0].clamp_max_(weights_BV.shape[1] - 1)


def argmax_blocks(logits_BV: Tensor) -> Tensor:
    """The first index of each row's maximum, in two levels: torch argmax is scalar code."""
    blocks_BCK = _blocks(logits_BV, -math.inf)
    block_B1 = blocks_BCK.amax(-1).argmax(-1, keepdim=True)
    return _block(blocks_BCK, block_B1).argmax(-1).add_(block_B1[:, 0], alpha=BLOCK)


def _blocks(values_BV: Tensor, fill: float) -> Tensor:
    missing = -values_BV.shape[1] % BLOCK
    if missing:
        values_BV = F.pad(values_BV, (0, missing), value=fill)
    return values_BV.view(len(values_BV), -1, BLOCK)


def _block(blocks_BCK: Tensor, block_B1: Tensor) -> Tensor:
    return blocks_BCK.gather(1, block_B1[:, :, None].expand(-1, -1, BLOCK))[:, 0]


def _softmax_(logits_BV: Tensor) -> Tensor:
    return torch.softmax(logits_BV, -1, out=logits_BV)


def _log_at(probs_BV: Tensor, token_B: Tensor) -> Tensor:
    return probs_BV.gather(1, token_B[:, None])[:, 0].log()


def _truncate(probs_BK: Tensor, sampling: SamplingConfig) -> Tensor:
    """Zero what top-p and min-p leave out of descending probabilities; not renormalised."""
    if sampling.top_p < 1:
        before_BK = probs_BK.cumsum(-1) - probs_BK
        probs_BK = probs_BK.masked_fill(before_BK >= sampling.top_p, 0)
    if sampling.min_p:
        probs_BK = probs_BK.masked_fill(probs_BK < sampling.min_p * probs_BK[:, :1], 0)
    return probs_BK


def _draw_ordered(
    probs_BK: Tensor, ids_BK: Tensor, uniform_B: Tensor, sampling: SamplingConfig
) -> tuple[Tensor, Tensor]:
    """Draw from candidates in descending order."""
    weights_BK = _truncate(probs_BK, sampling)
    at_B1 = pick(weights_BK, uniform_B)[:, None]
    prob_B1 = weights_BK.gather(1, at_B1) / weights_BK.sum(-1, keepdim=True)
    return ids_BK.gather(1, at_B1)[:, 0], prob_B1[:, 0].log()


def _draw_nucleus(
    probs_BV: Tensor, uniform_B: Tensor, sampling: SamplingConfig
) -> tuple[Tensor, Tensor]:
    token_B = torch.empty_like(uniform_B, dtype=torch.int64)
    logp_B = torch.empty_like(uniform_B)
    for rows, top_BK, ids_BK in _nuclei(probs_BV, sampling.top_p):
        token_B[rows], logp_B[rows] = _draw_ordered(top_BK, ids_BK, uniform_B[rows], sampling)
    return token_B, logp_B


def _nuclei(probs_BV: Tensor, top_p: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Top-p without a sort of the vocabulary: widen the candidates until they hold the nucleus.

    Each row stops at its own width, so that its draw does not depend on its neighbours.

    Yields:
        Rows, their candidates' probabilities in descending order, and their ids.
    """
    vocab = probs_BV.shape[1]
    waiting = torch.arange(len(probs_BV), device=probs_BV.device)
    for width in (*(w for w in _NUCLEUS_WIDTHS if w < vocab), vocab):
        top_BK, ids_BK = probs_BV[waiting].topk(width, -1)
        done = top_BK.sum(-1) >= top_p if width < vocab else torch.ones_like(waiting) > 0
        yield waiting[done], top_BK[done], ids_BK[done]
        waiting = waiting[~done]
        if not len(waiting):
            break
