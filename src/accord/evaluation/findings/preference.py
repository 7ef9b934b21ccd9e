"""Checks of stages trained on pairs: margins, the chosen responses, whether anything moved."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from accord.config.preference import FREE
from accord.evaluation.findings.finding import (
    Curves,
    Document,
    Finding,
    above,
    below,
    course,
    first,
    last,
    measured_kl,
    plain,
    signed,
    span,
    stages_of,
)

STILL_MARGIN, STILL_KL = 0.01, 0.05
"""Below both, the policy did not move: margin in units of the reward, KL in nats a sequence."""
MARGINS = "rewards/margins"
USUAL_WEIGHT = 0.02
"""Standard deviation that models of this family are initialised with."""
CHOSEN_FELL, CHOSEN_FELL_SHARE = 1.0, 0.10
"""Nats a response, and share of its log-probability, that the chosen ones may fall by."""
MARGIN_LARGE = 10.0
"""Beyond this beta-scaled margin log sigma is flat: pairs give no gradient any more."""
MARGIN_FAR = 2.0
"""Times the chosen responses' whole first log-probability that the margin before beta may reach."""


def movement(document: Document) -> Iterator[Finding]:
    """A preference run that left the policy where it was."""
    for stage, config, curves in stages_of(document, ["preference"]):
        margin = moved(config, curves, MARGINS)
        if margin is None:
            continue
        kl = measured_kl(document, stage)
        loss = math.log1p(math.exp(-margin)) if margin > -500 else -margin
        # pairs that nothing tells apart leave the margin at 0 and move both sides
        chosen = moved(config, curves, "rewards/chosen") or 0.0
        near = max(abs(margin), abs(chosen)) < STILL_MARGIN
        still = near and (kl is None or kl < STILL_KL)
        evidence = {"stage": stage, "margin": margin, "loss": loss, "kl": kl}
        evidence |= {"beta": config.get("beta", 0.1), "steps": span(course(curves, MARGINS))}
        evidence |= resolution(config)
        apart = "" if kl is None else f", KL {plain(kl)} nats a sequence"
        if still:
            yield Finding(
                "policy_did_not_move",
                "problem",
                f"{stage} did not move its policy: margin {signed(margin, 4)}, loss "
                f"{plain(loss, 4)} where an untrained policy has log 2 = 0.6931{apart}.",
                evidence,
                "raise lr, train for more steps, and keep fp32 master weights: updates may be "
                "below the precision of the weights",
            )
        else:
            yield Finding(
                "policy_moved", "info", f"{stage} moved: margin {signed(margin)}{apart}.", evidence
            )


def chosen(document: Document) -> Iterator[Finding]:
    """The chosen responses became less likely than they were at the start."""
    for stage, config, curves in stages_of(document, ["preference"]):
        reward = moved(config, curves, "rewards/chosen")
        if reward is None:
            continue
        beta = config.get("beta", 0.1)
        change = reward / beta
        level = first(curves, "logps/chosen") or 0.0
        bound = -max(CHOSEN_FELL, CHOSEN_FELL_SHARE * abs(level))
        evidence = {"stage": stage, "rewards/chosen": reward, "nats": change, "beta": beta}
        if change < bound:
            fallen = beta * bound
            steps = below(course(curves, "rewards/chosen"), fallen)
            evidence |= {"steps": steps, "bound": bound}
            yield Finding(
                "chosen_fell",
                "warning",
                f"{stage} made the chosen responses less likely than at its start "
                f"({signed(change, 1)} nats a response): its margin comes from pushing the "
                "rejected ones down further.",
                evidence,
                "give the chosen response's likelihood more weight (loss: {sigmoid: 1, sft: 0.3})",
            )
        else:
            yield Finding(
                "chosen_kept",
                "info",
                f"{stage} made the chosen responses more likely ({signed(change, 1)} nats)."
                if change > 0
                else f"{stage} left the chosen responses about as likely ({signed(change, 1)} "
                "nats a response).",
                evidence,
            )


def resolution(config: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rate, and whether pure bf16 weights of the usual size could take its steps.

    Adam moves a weight by about lr; bf16 keeps 8 bits, so a smaller step than 2⁻⁹ of a weight is
    rounded away.
    """
    lr = config.get("lr")
    return {} if lr is None else {"lr": lr, "below_bf16": lr < USUAL_WEIGHT * 2.0**-9}


def moved(config: Mapping[str, Any], curves: Curves, metric: str) -> float | None:
    """Where a reward ended; without a reference, how far it is from where it began."""
    value, loss = last(curves, metric), config.get("loss", "sigmoid")
    free = FREE.issuperset({loss} if isinstance(loss, str) else loss)
    if value is None or not free:
        return value
    points = curves.get(metric) or course(curves, metric)
    return value - points[0][1]


def _at_first(curves: Curves, metric: str) -> float | None:
    """The first point alone: the mean of several is that of a policy that may have left already."""
    points = curves.get(metric, [])
    return points[0][1] if points else None


def margins(document: Document) -> Iterator[Finding]:
    """Margins so large that the loss is flat."""
    for stage, config, curves in stages_of(document, ["preference", "online"]):
        # what is flat is flat on the pairs that are trained on
        seen = {MARGINS: curves.get(MARGINS) or course(curves, MARGINS)}
        margin = moved(config, seen, MARGINS)
        if margin is None:
            continue
        beta = config.get("beta", 0.1)
        # a small beta hides how far the policy went
        far = MARGIN_FAR * beta * abs(_at_first(curves, "logps/chosen") or math.inf)
        if margin > min(MARGIN_LARGE, far):
            flat = "the loss is flat there, and the policy only drifts"
            nats = f"that is {plain(margin / beta, 0)} nats a pair before beta"
            yield Finding(
                "margin_explosion",
                "problem",
                f"{stage}'s margin grew to {plain(margin, 1)} (beta included): "
                f"{flat if margin > MARGIN_LARGE else nats}.",
                {
                    "stage": stage,
                    "steps": above(seen[MARGINS], min(MARGIN_LARGE, far)),
                    "margin": margin,
                    "nats": margin / beta,
                    "beta": beta,
                },
                "set margin_cap, raise beta, lower lr, or stop earlier",
            )
