"""Checks of what each policy wrote, beside what the reference wrote."""

import math
from collections.abc import Iterator, Mapping

from accord.evaluation.findings.finding import (
    SOFTER,
    Document,
    Finding,
    against_reference,
    kind_of,
    plain,
    signed,
)

LONGER = 0.20
"""Relative growth of the mean length worth a warning."""
SHORTER = 0.40
"""Relative fall of the mean length worth a warning."""
ENDED_FALL = 0.05
"""Fall of the share of completions that end by themselves."""
SURE = 2.6
"""Standard errors that a fall of a share must exceed too (1 in 100 by chance)."""
DIVERSITY_FALL, DIVERSITY_LOSS = 0.15, 0.30
"""Relative fall of distinct-2: warning, problem."""
UNIQUE_LOW, UNIQUE_LOST = 0.80, 0.50
"""Share of different completions: warning, problem."""
FLUENCY_FALL, FLUENCY_LOSS = 0.25, 0.75
"""Fall in nats a token: warning, problem."""
COPIES_RISE = 0.02
ENDS_NEVER = 0.02
"""Share of completions that end by themselves below which a policy does not know its end."""
ENDS: Mapping[str, str] = {
    "preference": "give sft more weight (loss: {sigmoid: 1, sft: 0.3}) or use loss: sigmoid_norm",
    "online": "set missing_end_penalty, give sft more weight or use loss: sigmoid_norm",
    "ppo": "set missing_end_penalty and raise rollout.sampling.max_new_tokens",
    "grpo": "set missing_end_penalty and raise rollout.sampling.max_new_tokens",
}
"""What makes a policy stop, by kind of stage."""
SIZES: Mapping[str, str] = {
    "preference": "match pairs in length, use loss: sigmoid_norm, or give sft more weight",
    "online": "use loss: sigmoid_norm, or a reward that length does not move",
    "ppo": "use a reward that length does not move, or raise kl_coef",
    "grpo": "use a reward that length does not move, loss_type: dr_grpo, or raise beta",
}
"""What keeps completions at their length, by kind of stage."""


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
    """Completions grew or shrank: the objective may be paid in length."""
    for policy, ours, theirs in against_reference(document):
        evidence = {"policy": policy, "length": ours["length"], "reference": theirs["length"]}
        growth = ours["length"] / theirs["length"] - 1.0 if theirs["length"] else 0.0
        if growth > LONGER:
            yield Finding(
                "longer_completions",
                "warning",
                f"{policy} writes {growth:.0%} longer completions than the reference "
                f"({plain(ours['length'], 1)} tokens, {plain(theirs['length'], 1)} before).",
                evidence,
                SIZES[kind_of(document, policy)],
            )
        elif growth < -SHORTER:
            yield Finding(
                "shorter_completions",
                "warning",
                f"{policy} writes {-growth:.0%} shorter completions than the reference "
                f"({plain(ours['length'], 1)} tokens, {plain(theirs['length'], 1)} before).",
                evidence,
                SIZES[kind_of(document, policy)],
            )


def ending(document: Document) -> Iterator[Finding]:
    """Fewer completions reach their end token: the policy rambles."""
    for policy, ours, theirs in against_reference(document):
        evidence = {"policy": policy, "ended": ours["ended"], "reference": theirs["ended"]}
        shares = f"{ours['ended']:.0%} of completions end by themselves, {theirs['ended']:.0%}"
        fall = theirs["ended"] - ours["ended"]
        error = _error(ours["ended"], theirs["ended"], _drawn(document))
        if fall > max(ENDED_FALL, SURE * error):
            yield Finding(
                "rambling",
                "warning",
                f"{policy} rambles: {shares} did before.",
                evidence,
                ENDS[kind_of(document, policy)],
            )
        else:
            yield Finding(
                "ends_kept", "info", f"{policy} still stops: {shares} in the reference.", evidence
            )


def _error(one: float, other: float, drawn: float) -> float:
    """Standard error of the difference of two shares of as many draws each."""
    share = (one + other) / 2.0
    return math.sqrt(2.0 * share * (1.0 - share) / drawn) if drawn > 0 else 0.0


def _drawn(document: Document) -> int:
    """Completions that the evaluation drew of each policy."""
    protocol = document.get("protocol", {})
    return protocol.get("prompts", 0) * protocol.get("samples_per_prompt", 1)


def endless(document: Document) -> Iterator[Finding]:
    """A policy that hardly ever writes its end token, the reference included."""
    for policy, found in document.get("policies", {}).items():
        ended = found["statistics"].get("ended")
        if ended is not None and ended < ENDS_NEVER:
            yield Finding(
                "no_end_token",
                "problem",
                f"{policy} hardly ever writes its end token: {ended:.1%} of its completions end by "
                "themselves.",
                {"policy": policy, "ended": ended},
                "see that responses end with the end token in SFT (accord data check), or raise "
                "sampling.max_new_tokens",
            )


def diversity(document: Document) -> Iterator[Finding]:
    """Distinct bigrams became fewer."""
    for policy, ours, theirs in against_reference(document):
        now, before = ours["distinct_2"], theirs["distinct_2"]
        bigrams = _drawn(document) * (min(ours["length"], theirs["length"]) - 1.0)
        chance = SURE * _error(now, before, bigrams)
        evidence = {"policy": policy, "distinct_2": now, "reference": before}
        numbers = f"distinct-2 {plain(now)}, {plain(before)} in the reference"
        if before - now > max(DIVERSITY_FALL * before, chance):
            yield Finding(
                "diversity_fell",
                "problem" if before - now > DIVERSITY_LOSS * before else "warning",
                f"{policy} repeats itself more: {numbers}.",
                evidence,
                f"{SOFTER[kind_of(document, policy)]}, or train for fewer steps",
            )
        else:
            yield Finding("diversity_kept", "info", f"{policy} stays varied: {numbers}.", evidence)


def uniqueness(document: Document) -> Iterator[Finding]:
    """The same completion again and again: collapse."""
    for policy, ours, theirs in against_reference(document):
        if ours["unique"] < UNIQUE_LOW and ours["unique"] < theirs["unique"]:
            yield Finding(
                "collapse",
                "problem" if ours["unique"] < UNIQUE_LOST else "warning",
                f"{policy} gives the same answers again: {ours['unique']:.0%} of its completions "
                f"differ, {theirs['unique']:.0%} in the reference.",
                {"policy": policy, "unique": ours["unique"], "reference": theirs["unique"]},
                f"{SOFTER[kind_of(document, policy)]}, or stop earlier",
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
                f"{SOFTER[kind_of(document, row['policy'])]}, lower lr, or train for fewer steps",
            )
        else:
            yield Finding("fluency_kept", "info", f"{row['policy']} stays fluent: {numbers}.", row)


def copies(document: Document) -> Iterator[Finding]:
    """More of the text stands word for word in the training data."""
    for policy, ours, theirs in against_reference(document):
        if "copies" in ours and ours["copies"] > theirs.get("copies", 0.0) + COPIES_RISE:
            yield Finding(
                "copies_rose",
                "warning",
                f"{policy} copies more: {ours['copies']:.1%} of its 8-grams stand in the training "
                f"text, {theirs.get('copies', 0.0):.1%} of the reference's.",
                {"policy": policy, "copies": ours["copies"], "reference": theirs.get("copies")},
                "train for fewer epochs, or on more varied pairs",
            )
