"""Checks of mixtures of experts: experts without tokens, and routers that send all one way."""

from collections.abc import Iterator

from accord.evaluation.findings.finding import (
    Curves,
    Document,
    Finding,
    above,
    last,
    plain,
    stages_of,
)

KINDS = ("pretrain", "sft", "reward", "preference", "ppo", "grpo", "online")
FEWEST = 5
"""Lines at the end of a run in which an expert must have had no token to be dead."""
BUSIEST = 0.9
"""Share of a layer's tokens on one expert above which its router has collapsed."""
UNFAIR = 1.25
"""Times its even share that an expert must have for that: with few experts 0.9 may be even."""
DEAD, TOP, LOAD = "router/dead_experts", "router/busiest", "router/load_max"


def dead(document: Document) -> Iterator[Finding]:
    """Experts that no token was sent to in any of the last lines: they learn nothing."""
    for stage, _, curves in stages_of(document, KINDS):
        points = curves.get(DEAD, [])
        ended = points[-max(FEWEST, len(points) // 10) :]
        fewest = int(min((value for _, value in ended), default=0.0))
        if len(ended) < FEWEST or fewest < 1 or _collapsed(curves):
            continue
        yield Finding(
            "dead_experts",
            "warning",
            f"{stage}'s routers sent no token to at least {fewest} "
            f"expert{'s' * (fewest > 1)} in each of the last {len(ended)} lines of the log.",
            {"stage": stage, "experts": fewest, "steps": above(points, 0.5)},
            "raise router_aux_loss_coef, or take more tokens a step; parameters of dead experts "
            "are of no use",
        )


def collapse(document: Document) -> Iterator[Finding]:
    """A layer whose router sends nearly all tokens to the same expert."""
    for stage, _, curves in stages_of(document, KINDS):
        if _collapsed(curves):
            share, load = last(curves, TOP) or 0.0, last(curves, LOAD) or 0.0
            yield Finding(
                "router_collapsed",
                "problem",
                f"A router of {stage} sends {plain(100 * share, 0)} % of its tokens to one expert, "
                f"{plain(load, 1)} times its even share.",
                {
                    "stage": stage,
                    "busiest": share,
                    "load_max": load,
                    "steps": above(curves[TOP], BUSIEST),
                },
                "raise router_aux_loss_coef (0.01 is common), add router_z_loss_coef 0.001, lower "
                "lr, or start from a checkpoint before it",
            )


def _collapsed(curves: Curves) -> bool:
    share, load = last(curves, TOP), last(curves, LOAD)
    return share is not None and load is not None and share > BUSIEST and load > UNFAIR
