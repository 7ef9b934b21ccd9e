"""Checks of the first step, before any update: the policy is its reference, its ratio is 1."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from accord.config.preference import FREE
from accord.evaluation.findings.finding import (
    Curves,
    Document,
    Finding,
    last,
    mean,
    plain,
    signed,
    stages_of,
)
from accord.evaluation.findings.rollouts import KINDS
from accord.evaluation.findings.trends import FEWEST

LOSS_OFF, REWARD_OFF = 0.02, 0.005
"""Distance of the first loss from its constant, relative; of the first rewards from 0, which a
reference in training mode moves by little."""
REWARD_SAME = 1e-4
"""Distance of the first rewards from 0 within which policy and reference are one."""
KL_OFF, KL_OFF_TOKEN = 0.3, 0.02
"""Nats a completion and a token from the reference before the first update."""
FIRST_RATIO_OFF = 0.05
"""Distance of the importance ratio from 1 before the first update."""
STALE = 0.002
"""Half the mean squared log-ratio at the first use of a roll-out."""
COARSER, COARSER_REWARD = 5.0, 50.0
"""Times these bounds in bf16, where policy and reference round differently."""
SEPARATE = 1.5
"""Times that one side of the pairs is less likely than the other under the starting model."""
TINY = 1e-6
AT_ONCE, ALL_RIGHT = 0.90, 0.98
"""Pair accuracy in the first fifth of the steps, and in the last steps."""


def _half(settings: Mapping[str, Any]) -> float:
    return 1.0 / (2.0 * settings.get("beta", 0.1))


def _exo(settings: Mapping[str, Any]) -> float:
    epsilon = settings.get("label_smoothing", 0.0) or 0.1
    return -math.log(2.0) - (math.log1p(-epsilon) + math.log(epsilon)) / 2.0


def _constant(value: float) -> Callable[[Mapping[str, Any]], float]:
    return lambda _: value


LOG2 = math.log(2.0)
CONSTANTS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    **{
        name: _constant(LOG2)
        for name in ("sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired")
    },
    "ipo": lambda s: _half(s) ** 2,
    "ipo_sum": lambda s: _half(s) ** 2,
    "hinge": _constant(1.0),
    "exo_pair": _exo,
    "nca_pair": _constant(2.0 * LOG2),
    "bco_pair": _constant(2.0 * LOG2),
    "sppo_hard": lambda s: 2.0 * _half(s) ** 2,
    "apo_zero": _constant(1.0),
    "apo_down": _constant(1.0),
    "discopop": _constant((LOG2 + 1.0) / 2.0),
}
"""Each loss on pairs where policy and reference are one (both log-ratios 0)."""


def losses_of(config: Mapping[str, Any]) -> Mapping[str, float]:
    """Each loss of a preference stage with its weight."""
    loss = config.get("loss", "sigmoid")
    return {loss: 1.0} if isinstance(loss, str) else loss


def needs_reference(config: Mapping[str, Any]) -> bool:
    """Whether any loss of a preference stage looks at the reference."""
    return not FREE.issuperset(losses_of(config))


def reference(document: Document) -> Iterator[Finding]:
    """Before the first update the policy is its reference: rewards 0, the loss its constant."""
    for stage, config, curves in stages_of(document, ("preference", *KINDS)):
        coarse = COARSER if config.get("precision") == "bf16" else 1.0
        kind = document["stages"][stage]["kind"]
        paired = kind in ("preference", "online") and needs_reference(config)
        said = [*_off_pairs(config, curves, coarse)] if paired else []
        kl, tokens = (_at_start(curves, m) for m in ("objective/kl", "completions/mean_length"))
        if kl is not None and abs(kl) > coarse * max(KL_OFF, KL_OFF_TOKEN * (tokens or 0.0)):
            said.append(("objective/kl", kl, 0.0))
        if said:
            words = ", ".join(
                f"{name} {plain(value, 4)} instead of {plain(right, 4)}"
                for name, value, right in said
            )
            yield Finding(
                "wrong_reference",
                "problem",
                f"{stage}'s reference is not the model it starts from: {words} before the first "
                "update.",
                {
                    "stage": stage,
                    "step": 1,
                    "found": {name: value for name, value, _ in said},
                    "expected": {name: right for name, _, right in said},
                },
                "train from the model that the reference is; see that both read the same template, "
                "tokens and adapter, and remove reference log-probabilities kept from another run",
            )


def _off_pairs(
    config: Mapping[str, Any], curves: Curves, coarse: float
) -> Iterator[tuple[str, float, float]]:
    """Metric, value and what it should be, of the first step of a loss on pairs."""
    for name in ("rewards/chosen", "rewards/rejected"):
        value = _at_start(curves, name)
        bound = REWARD_OFF * (COARSER_REWARD if coarse > 1 else 1.0)
        if value is not None and abs(value) > bound:
            yield name, value, 0.0
    rewards = [_at_start(curves, f"rewards/{side}") for side in ("chosen", "rejected")]
    if all(value is not None and abs(value) < coarse * REWARD_SAME for value in rewards):
        return  # the two are one, whatever else is in the loss
    losses = losses_of(config)
    for loss in losses:
        metric = "loss" if len(losses) == 1 else f"loss/{loss}"
        value = _at_start(curves, metric)
        # weighted pairs have no constant, and one loss alone is logged with its weight
        if loss not in CONSTANTS or value is None or config.get("weighting", "none") != "none":
            continue
        weight = losses[loss] if len(losses) == 1 else 1.0
        right = weight * CONSTANTS[loss](config)
        if abs(value - right) > coarse * LOSS_OFF * right:
            yield metric, value, right


def ratio(document: Document) -> Iterator[Finding]:
    """Before the first update a roll-out is the policy's own: its importance ratio is 1."""
    for stage, config, curves in stages_of(document, KINDS):
        value = _at_start(curves, "val/ratio")
        coarse = 2.0 if config.get("precision") == "bf16" else 1.0
        if value is not None and abs(value - 1.0) > coarse * FIRST_RATIO_OFF:
            yield Finding(
                "ratio_not_one",
                "problem",
                f"{stage}'s importance ratio was {plain(value, 3)} before the first update, when "
                "policy and roll-out are one: the old log-probabilities are not the policy's.",
                {"stage": stage, "step": 1, "ratio": value},
                "use the same precision, temperature and engine for sampling and for training",
            )


def stale(document: Document) -> Iterator[Finding]:
    """A roll-out is used first by the policy that drew it: nothing lies between the two.

    The mean ratio cannot tell, which is 1 under any policy of old; its spread can.
    """
    for stage, config, curves in stages_of(document, KINDS):
        drawn = {step for step, _ in curves.get("unique", [])}
        apart = [point for point in curves.get("policy/approxkl_avg", []) if point[0] in drawn]
        # the mean of several steps is not that of the first alone
        coarse = COARSER if config.get("precision") == "bf16" else 1.0
        if config.get("log_every", 1) > 1 or len(apart) < 3:
            continue
        gap = mean(apart[-3:])
        if gap > coarse * STALE:
            yield Finding(
                "rollouts_stale",
                "problem",
                f"{stage}'s roll-outs are not its own: the policy that first learns from one is "
                f"{plain(gap, 3)} nats a token from the one that drew it.",
                {
                    "stage": stage,
                    "steps": [int(apart[0][0]), int(apart[-1][0])],
                    "approxkl": gap,
                },
                "hand the trained weights to the sampler before each roll-out",
            )


def format_only(document: Document) -> Iterator[Finding]:
    """Pairs that a model tells apart at once, by fluency or length alone."""
    for stage, _, curves in stages_of(document, ("preference",)):
        right = curves.get("rewards/accuracies", [])
        if len(right) < FEWEST:
            continue
        early, late = mean(right[: len(right) // 5]), last(curves, "rewards/accuracies") or 0.0
        won, lost = (_began(curves.get(f"logps/{side}", [])) for side in ("chosen", "rejected"))
        apart = abs(math.log(lost / won)) > math.log(SEPARATE) if won and lost else False
        if early > AT_ONCE and late > ALL_RIGHT and apart:
            yield Finding(
                "format_only_preference",
                "warning",
                f"{stage} tells its pairs apart at once ({early:.0%} right in the first fifth, "
                f"{late:.0%} at last), and its starting model did: {plain(won or 0, 1)} nats a "
                f"chosen and {plain(lost or 0, 1)} a rejected response. It learns form, not "
                "preference.",
                {
                    "stage": stage,
                    "steps": [int(right[0][0]), int(right[len(right) // 5][0])],
                    "accuracy": [early, late],
                    "logps/chosen": won,
                    "logps/rejected": lost,
                    "difference": signed((won or 0.0) - (lost or 0.0), 1),
                },
                "use rejected responses that are as fluent and as long as the chosen ones, such as "
                "samples of the same model (pairs.kind: sampled)",
            )


def _began(points: Sequence[Sequence[float]]) -> float | None:
    """Mean of the first tenth; none where it is no log-probability."""
    value = mean(points[: max(1, len(points) // 10)]) if points else 0.0
    return value if value < -TINY else None


def _at_start(curves: Curves, metric: str) -> float | None:
    """A metric of the first step, which is taken before the first update; none if not logged."""
    points = curves.get(metric, [])
    return points[0][1] if points and points[0][0] == 1 else None
