"""The reward model's losses and measurements.

Notation: r_w and r_l scores of the chosen and the rejected response. Axes: P pairs, R sequences.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.objectives.loss import Loss


def bradley_terry(
    chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | None = None, centering: float = 0.0
) -> Loss:
    """Sum over pairs of softplus(-(r_w - r_l - m)) + c (r_w + r_l)², to be divided by the pairs.

    Bradley-Terry as in arXiv 2203.02155 eq. 1; margin m, arXiv 2307.09288 eq. 2; centering c,
    arXiv 2312.09244 eq. 2.
    Metrics in TRL's names: `loss`, `accuracy` (ties are wrong), `margin` (r_w - r_l), `mean_reward`
    over both sides. `min_reward` and `max_reward` are no sums: as in TRL, each batch gives its
    own, and what is reported is the mean of these over (micro-)batches and ranks.

    Args:
        chosen_P: r_w, differentiable.
        rejected_P: r_l, differentiable.
        margin_P: m; none: 0.
        centering: c.

    Raises:
        ValueError: Sizes that differ.
    """
    _check(chosen_P, rejected_P, *(() if margin_P is None else (margin_P,)))
    difference_P = chosen_P - rejected_P
    ahead_P = difference_P if margin_P is None else difference_P - margin_P.detach()
    loss_P = F.softplus(-ahead_P)
    if centering:
        loss_P = loss_P + centering * (chosen_P + rejected_P).square()
    total, pairs = loss_P.sum(), chosen_P.detach().new_tensor(float(len(chosen_P)))
    metrics = {
        "loss": (total.detach(), pairs),
        "accuracy": ((difference_P > 0).to(pairs.dtype).sum(), pairs),
        "margin": (difference_P.detach().sum(), pairs),
        **_distribution(torch.cat([chosen_P, rejected_P]).detach()),
    }
    return Loss(total, pairs, metrics)


def rating_error(scores_R: Tensor, rating_R: Tensor) -> Loss:
    """Sum over sequences of (r - rating)², to be divided by the sequences; logged as `rating_mse`.

    Raises:
        ValueError: Sizes that differ.
    """
    _check(scores_R, rating_R)
    total = (scores_R - rating_R.detach()).square().sum()
    sequences = total.detach().new_tensor(float(len(scores_R)))
    return Loss(total, sequences, {"rating_mse": (total.detach(), sequences)})


def prefix_error(values_N: Tensor, sequence_N: Tensor, rating_R: Tensor) -> Loss:
    """Sum over responses of the mean over their tokens of (value - rating)².

    Every beginning of a response foretells its rating, as a critic's value foretells a return:
    each response gives as many examples as it has tokens.

    Args:
        values_N: The head's value at each token, differentiable.
        sequence_N: int64, the response of each token; -1 for those that several share.
        rating_R: The ratings.
    """
    own = sequence_N >= 0
    members_S = sequence_N[own]
    error_S = (values_N[own] - rating_R.detach().to(values_N.dtype)[members_S]).square()
    lengths_R = torch.bincount(members_S, minlength=len(rating_R)).to(values_N.dtype)
    total = (error_S / lengths_R[members_S]).sum()
    count = total.detach().new_tensor(float(len(rating_R)))
    return Loss(total, count, {"prefix_mse": (total.detach(), count)})


def expected_calibration_error(margins_P: Tensor, bins: int = 10) -> float:
    """Mean distance between how sure the model is of its pick and how often the pick is right.

    With p = σ(r_w - r_l) the model picks the side it scores higher with confidence
    max(p, 1 - p), and is right where r_w > r_l; a tie is right half of the time. Pairs are put
    into `bins` equal parts of [0.5, 1]: Σ n_b/n |accuracy_b - confidence_b| (arXiv 1706.04599
    eq. 3), from 0 to 1. NaN without pairs.
    """
    if not len(margins_P):
        return float("nan")
    margins_P = margins_P.detach().double()
    confidence_P = margins_P.abs().sigmoid()
    right_P = (margins_P.sign() + 1) / 2
    bin_P = ((confidence_P - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    gap_B = margins_P.new_zeros(bins).index_add(0, bin_P, right_P - confidence_P)
    return gap_B.abs().sum().item() / len(margins_P)


def correlation(x_R: Tensor, y_R: Tensor) -> float:
    """Pearson's correlation, from -1 to 1; NaN where one of the two does not vary.

    Raises:
        ValueError: Sizes that differ.
    """
    _check(x_R, y_R)
    if len(x_R) < 2 or any(bool(z_R.amax() == z_R.amin()) for z_R in (x_R, y_R)):
        return float("nan")
    x_R, y_R = (z_R.detach().double() - z_R.detach().double().mean() for z_R in (x_R, y_R))
    return ((x_R * y_R).sum() / (x_R.norm() * y_R.norm())).clamp(-1, 1).item()


def _distribution(scores_R: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    count = scores_R.new_tensor(float(len(scores_R)))
    # A batch without scores has no extremes: weight 0 leaves it out.
    some = (count > 0).to(scores_R.dtype)
    bounds = scores_R if len(scores_R) else scores_R.new_zeros(1)
    return {
        "min_reward": (bounds.amin(), some),
        "mean_reward": (scores_R.sum(), count),
        "max_reward": (bounds.amax(), some),
    }


def _check(scores: Tensor, *others: Tensor) -> None:
    shapes = [list(tensor.shape) for tensor in (scores, *others)]
    if scores.dim() != 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected vectors of one length; got {shapes}")
