"""Findings: named statements that follow from numbers, with evidence and a remedy.

A check is one function from the result document to findings, and one row of `CHECKS`.
The bounds stand here, by name, and every finding carries the numbers that it rests on.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "problem"]
Document = Mapping[str, Any]

LONGER = 0.20
"""Relative growth of the mean length worth a warning."""
ENDED_FALL = 0.05
"""Fall of the share of completions that end by themselves."""
DIVERSITY_FALL, DIVERSITY_LOSS = 0.15, 0.30
"""Relative fall of distinct-2: warning, problem."""
UNIQUE_LOW, UNIQUE_LOST = 0.80, 0.50
"""Share of different completions: warning, problem."""
FLUENCY_FALL, FLUENCY_LOSS = 0.25, 0.75
"""Fall in nats a token: warning, problem."""
COPIES_RISE = 0.02
STILL_MARGIN, STILL_KL = 0.01, 0.05
"""Below both, the policy did not move: margin in units of the reward, KL in nats a sequence."""
MARGIN_LARGE = 10.0
"""Beyond this beta-scaled margin log sigma is flat: pairs give no gradient any more."""
OVERFIT = 0.02
"""Relative rise of the held-out loss over its lowest value."""
ROWS_LOST = 0.10
MEANT = ("held out", "not drawn", "left out by the mixture", "shorter than", "match", "no partner")
"""Parts of reasons for which a recipe itself leaves rows out: they are no loss."""


@dataclass(frozen=True)
class Finding:
    """One statement about a run.

    Args:
        name: Stable identifier.
        severity: info, warning or problem.
        sentence: The statement, with its numbers, in plain words.
        evidence: The numbers it rests on.
        remedy: What to do about it; empty where nothing is wrong.
    """

    name: str
    severity: Severity
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


def findings(document: Document) -> list[dict[str, Any]]:
    """Every finding of a result document as plain dicts, the gravest first."""
    rank = {"problem": 0, "warning": 1, "info": 2}
    found = [finding for check in CHECKS for finding in check(document)]
    return [asdict(finding) for finding in sorted(found, key=lambda f: rank[f.severity])]


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a true minus included."""
    return f"{value:+.{digits}f}".replace("-", "−")


def plain(value: float, digits: int = 2) -> str:
    """A number with a true minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def comparisons(document: Document) -> Iterator[Finding]:
    """Each policy against the reference, in one sentence a scorer."""
    for row in document.get("comparisons", []):
        low, high = row["ci95"]
        pair = f"{row['policy']} − {row['reference']} in {row['scorer']}"
        numbers = f"{signed(row['difference'])} [{plain(low)}, {plain(high)}], {row['n']} prompts"
        if low > 0 or high < 0:
            yield Finding("difference", "info", f"{pair} = {numbers}.", row)
        else:
            yield Finding(
                "not_distinguishable", "info", f"{pair}: not distinguishable ({numbers}).", row
            )


def length(document: Document) -> Iterator[Finding]:
    """Completions grew: the objective may be paid in length."""
    for policy, ours, theirs in _against_reference(document):
        evidence = {"policy": policy, "length": ours["length"], "reference": theirs["length"]}
        growth = ours["length"] / theirs["length"] - 1.0 if theirs["length"] else 0.0
        if growth > LONGER:
            yield Finding(
                "longer_completions",
                "warning",
                f"{policy} writes {growth:.0%} longer completions than the reference "
                f"({plain(ours['length'], 1)} tokens, {plain(theirs['length'], 1)} before).",
                evidence,
                "match pairs in length, use loss: sigmoid_norm, or raise sft_weight",
            )


def ending(document: Document) -> Iterator[Finding]:
    """Fewer completions reach their end token: the policy rambles."""
    for policy, ours, theirs in _against_reference(document):
        evidence = {"policy": policy, "ended": ours["ended"], "reference": theirs["ended"]}
        shares = f"{ours['ended']:.0%} of completions end by themselves, {theirs['ended']:.0%}"
        if ours["ended"] < theirs["ended"] - ENDED_FALL:
            yield Finding(
                "rambling",
                "warning",
                f"{policy} rambles: {shares} did before.",
                evidence,
                "raise sft_weight (0.3 is a good start) or use loss: sigmoid_norm",
            )
        else:
            yield Finding(
                "ends_kept", "info", f"{policy} still stops: {shares} in the reference.", evidence
            )


def diversity(document: Document) -> Iterator[Finding]:
    """Distinct bigrams became fewer."""
    for policy, ours, theirs in _against_reference(document):
        now, before = ours["distinct_2"], theirs["distinct_2"]
        fall = 1.0 - now / before if before else 0.0
        evidence = {"policy": policy, "distinct_2": now, "reference": before}
        numbers = f"distinct-2 {plain(now)}, {plain(before)} in the reference"
        if fall > DIVERSITY_FALL:
            yield Finding(
                "diversity_fell",
                "problem" if fall > DIVERSITY_LOSS else "warning",
                f"{policy} repeats itself more: {numbers}.",
                evidence,
                "raise beta, train for fewer steps, or stop at the best held-out accuracy",
            )
        else:
            yield Finding("diversity_kept", "info", f"{policy} stays varied: {numbers}.", evidence)


def uniqueness(document: Document) -> Iterator[Finding]:
    """The same completion again and again: collapse."""
    for policy, ours, theirs in _against_reference(document):
        if ours["unique"] < UNIQUE_LOW and ours["unique"] < theirs["unique"]:
            yield Finding(
                "collapse",
                "problem" if ours["unique"] < UNIQUE_LOST else "warning",
                f"{policy} gives the same answers again: {ours['unique']:.0%} of its completions "
                f"differ, {theirs['unique']:.0%} in the reference.",
                {"policy": policy, "unique": ours["unique"], "reference": theirs["unique"]},
                "raise beta (a stronger pull to the reference) or stop earlier",
            )


def fluency(document: Document) -> Iterator[Finding]:
    """The text became less likely under the reference than the bound allows."""
    for row in document.get("comparisons", []):
        if row["scorer"] != "fluency":
            continue
        change, (low, high) = row["difference"], row["ci95"]
        numbers = f"{signed(change)} nats a token [{plain(low)}, {plain(high)}]"
        if change < -FLUENCY_FALL:
            yield Finding(
                "fluency_fell",
                "problem" if change < -FLUENCY_LOSS else "warning",
                f"{row['policy']} writes less fluently, judged by the reference: {numbers}.",
                row,
                "raise beta, lower lr, or raise sft_weight",
            )
        else:
            yield Finding("fluency_kept", "info", f"{row['policy']} stays fluent: {numbers}.", row)


def copies(document: Document) -> Iterator[Finding]:
    """More of the text stands word for word in the training data."""
    for policy, ours, theirs in _against_reference(document):
        if "copies" in ours and ours["copies"] > theirs.get("copies", 0.0) + COPIES_RISE:
            yield Finding(
                "copies_rose",
                "warning",
                f"{policy} copies more: {ours['copies']:.1%} of its 8-grams stand in the training "
                f"text, {theirs.get('copies', 0.0):.1%} of the reference's.",
                {"policy": policy, "copies": ours["copies"], "reference": theirs.get("copies")},
                "train for fewer epochs, or on more varied pairs",
            )


def movement(document: Document) -> Iterator[Finding]:
    """A preference run that left the policy where it was."""
    for stage, curves, beta in _preference_stages(document):
        margin = _last(curves, "rewards/margins")
        if margin is None:
            continue
        kl = document.get("policies", {}).get(stage, {}).get("kl", {}).get("mean")
        loss = math.log1p(math.exp(-margin)) if margin > -500 else -margin
        still = abs(margin) < STILL_MARGIN and (kl is None or kl < STILL_KL)
        evidence = {"stage": stage, "margin": margin, "loss": loss, "kl": kl, "beta": beta}
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
    for stage, curves, beta in _preference_stages(document):
        reward = _last(curves, "rewards/chosen")
        if reward is None:
            continue
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
                "raise sft_weight (the negative log-probability of the chosen response)",
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
    for stage, curves, beta in _preference_stages(document):
        margin = _last(curves, "rewards/margins")
        if margin is not None and margin > MARGIN_LARGE:
            yield Finding(
                "margin_explosion",
                "problem",
                f"{stage}'s margin grew to {plain(margin, 1)} (beta included): the loss is flat "
                "there, and the policy only drifts.",
                {"stage": stage, "margin": margin, "beta": beta},
                "set margin_cap, raise beta, lower lr, or stop earlier",
            )


def overfitting(document: Document) -> Iterator[Finding]:
    """The held-out loss rose again after its lowest point."""
    for stage, curves in document.get("curves", {}).items():
        points = curves.get("eval_loss", [])
        if len(points) < 2:
            continue
        step, lowest = min(points, key=lambda point: point[1])
        final = points[-1][1]
        if final > lowest * (1.0 + OVERFIT):
            yield Finding(
                "overfitting",
                "warning",
                f"{stage} overfits: its held-out loss was {plain(lowest, 3)} at step {step:,} and "
                f"{plain(final, 3)} at the end.",
                {"stage": stage, "step": step, "lowest": lowest, "final": final},
                f"train for about {step:,} steps",
            )


def rows(document: Document) -> Iterator[Finding]:
    """A large part of a source was left out or shortened; held-out rows are meant to be."""
    for stage, sources in document.get("rows", {}).items():
        for source, counts in sources.items():
            kept = counts.get("kept", 0)
            reasons = counts.get("dropped", {})
            dropped = sum(n for why, n in reasons.items() if not any(m in why for m in MEANT))
            cut = sum(counts.get("truncated", {}).values())
            for what, lost in (("dropped", dropped), ("truncated", cut)):
                share = lost / (kept + dropped) if kept + dropped else 0.0
                if share > ROWS_LOST:
                    yield Finding(
                        f"rows_{what}",
                        "warning",
                        f"{stage}: {share:.0%} of the rows of {source} were {what} "
                        f"({lost:,} of {kept + dropped:,}).",
                        {"stage": stage, "source": source, **counts},
                        "see the row account for the reasons; raise max_length if rows were cut",
                    )


CHECKS: tuple[Callable[[Document], Iterator[Finding]], ...] = (
    comparisons,
    movement,
    margins,
    chosen,
    overfitting,
    ending,
    length,
    diversity,
    uniqueness,
    fluency,
    copies,
    rows,
)


def _against_reference(
    document: Document,
) -> Iterator[tuple[str, Mapping[str, float], Mapping[str, float]]]:
    """Each policy's statistics beside the reference's."""
    reference = document.get("protocol", {}).get("reference")
    policies = document.get("policies", {})
    if reference not in policies:
        return
    for name, policy in policies.items():
        if name != reference:
            yield name, policy["statistics"], policies[reference]["statistics"]


def _preference_stages(document: Document) -> Iterator[tuple[str, Mapping[str, Any], float]]:
    """Stages trained on pairs: name, curves, beta."""
    for name, stage in document.get("stages", {}).items():
        if stage.get("kind") == "preference":
            beta = stage.get("config", {}).get("beta", 0.1)
            yield name, document.get("curves", {}).get(name, {}), beta


def _last(curves: Mapping[str, Any], metric: str) -> float | None:
    """Where a metric ended: its last held-out value, else the mean of the last tenth of steps."""
    held_out = curves.get(f"eval_{metric}", [])
    if held_out:
        return held_out[-1][1]
    points = curves.get(metric, [])
    if not points:
        return None
    tail = points[-max(1, len(points) // 10) :]
    return sum(value for _, value in tail) / len(tail)
