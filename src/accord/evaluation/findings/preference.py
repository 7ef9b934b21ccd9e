"""Checks of stages trained on pairs: margins, the chosen responses, whether anything moved."""

import math
from collections.abc import Iterator

from accord.evaluation.findings.finding import (
    Document,
    Finding,
    last,
    measured_kl,
    plain,
    signed,
    stages_of,
)

STILL_MARGIN, STILL_KL = 0.01, 0.05
"""Below both, the policy did not move: margin in units of the reward, KL in nats a sequence."""
MARGIN_LARGE = 10.0
"""Beyond this beta-scaled margin log sigma is flat: pairs give no gradient any more."""


def movement(document: Document) -> Iterator[Finding]:
    """A preference run that left the policy where it was."""
    for stage, config, curves in stages_of(document, ["preference"]):
        margin = last(curves, "rewards/margins")
        if margin is None:
            continue
        kl = measured_kl(document, stage)
        loss = math.log1p(math.exp(-margin)) if margin > -500 else -margin
        still = abs(margin) < STILL_MARGIN and (kl is None or kl < STILL_KL)
        evidence = {"stage": stage, "margin": margin, "loss": loss, "kl": kl}
        evidence["beta"] = config.get("beta", 0.1)
        moved = "" if kl is None else f", KL {plain(kl)} nats a sequence"
        if still:
            yield Finding(
                "policy_did_not_move",
                "problem",
                f"{stage} did not move its policy: margin {signed(margin, 4)}, loss "
                f"{plain(loss, 4)} where an untrained policy has log 2 = 0.6931{moved}.",
                evidence,
                "raise lr, train for more steps, and keep fp32 master weights: updates may be "
                "below the precision of the weights",
            )
        else:
            yield Finding(
                "policy_moved", "info", f"{stage} moved: margin {signed(margin)}{moved}.", evidence
            )


def chosen(document: Document) -> Iterator[Finding]:
    """The chosen responses became less likely than they were at the start."""
    for stage, config, curves in stages_of(document, ["preference"]):
        reward = last(curves, "rewards/chosen")
        if reward is None:
            continue
        beta = config.get("beta", 0.1)
        change = reward / beta
        evidence = {"stage": stage, "rewards/chosen": reward, "nats": change, "beta": beta}
        if change < 0:
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
                f"{stage} made the chosen responses more likely ({signed(change, 1)} nats).",
                evidence,
            )


def margins(document: Document) -> Iterator[Finding]:
    """Margins so large that the loss is flat."""
    for stage, config, curves in stages_of(document, ["preference", "online"]):
        margin = last(curves, "rewards/margins")
        if margin is not None and margin > MARGIN_LARGE:
            yield Finding(
                "margin_explosion",
                "problem",
                f"{stage}'s margin grew to {plain(margin, 1)} (beta included): the loss is flat "
                "there, and the policy only drifts.",
                {"stage": stage, "margin": margin, "beta": config.get("beta", 0.1)},
                "set margin_cap, raise beta, lower lr, or stop earlier",
            )
