"""Tests what the original of the RLHF study claimed against a run of `recipes/rlhf-study.yaml`.

    python docs/study_claims.py runs/rlhf-study docs/rlhf-study.md bidirectional=AUDIT causal=AUDIT

Each claim names the comparison that could bear it out. It is *confirmed* where that comparison is
told apart from chance in the claimed direction, *refuted* where it is told apart in the other or a
measured figure excludes it, *undecidable* otherwise. The table is put between `<!-- claims -->` and
`<!-- end claims -->`. All numbers are those of `study_report.json` and of the reward models' audits
(folders that `accord audit … --out` wrote).
"""

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.report.numbers import number

Document = Mapping[str, Any]
Answer = tuple[str, str]
CONFIRMED, REFUTED, UNDECIDABLE = "confirmed", "refuted", "undecidable"
PHASES = ("phase1", "phase5")


@dataclass(frozen=True)
class Claimed:
    """What the original said, and how it is tested.

    Args:
        text: The claim, with the original's figure.
        test: The study's document to a verdict and its reason.
    """

    text: str
    test: Callable[[Document], Answer]


def compared(
    document: Document, family: str, after: str, before: str, context: str, scorer: str
) -> Mapping[str, Any]:
    """One comparison; where a variant's runs are an earlier one's, it stands under that one.

    Raises:
        LookupError: The study does not have it.
    """
    contexts = [context]
    if family in ("policies", "methods"):
        contexts += [v for v in document["variants"] if v != context]
    for name in contexts:
        for claim in document["claims"]:
            key = (claim["family"], claim["after"], claim["before"], claim["context"])
            if key == (family, after, before, name) and claim["scorer"] == scorer:
                return claim
    raise LookupError(f"no comparison {family}: {after} − {before} ({context}) in {scorer}")


def direction(
    family: str, after: str, before: str, context: str, sign: int
) -> Callable[..., Answer]:
    """A comparison told apart in a direction by a primary scorer, and by none in the other."""

    def test(document: Document) -> Answer:
        scorers = document.get("primary") or [document["scorer"]]
        found = [compared(document, family, after, before, context, scorer) for scorer in scorers]
        signs = {claim["difference"] * sign > 0 for claim in found if claim["distinguishable"]}
        why = ". ".join(claim["sentence"] for claim in found)
        if len(signs) != 1:  # nothing told apart, or judges that contradict each other
            return UNDECIDABLE, why
        return (CONFIRMED if signs.pop() else REFUTED), why

    return test


def phase_gain(policy: str) -> Callable[..., Answer]:
    """A gain between the phases that was put down to training."""

    def test(document: Document) -> Answer:
        scorer, said = document["scorer"], {}
        for family, after in (("variants", "training5"), ("variants", "sampling5")):
            said[after] = compared(document, family, after, "phase1", policy, scorer)
        training, sampling = said["training5"], said["sampling5"]
        why = (
            f"phase 5 changed training and sampling at once. Apart: {training['sentence']}. "
            f"{sampling['sentence']}"
        )
        if training["distinguishable"]:
            return (CONFIRMED if training["difference"] > 0 else REFUTED), why
        return (REFUTED if sampling["distinguishable"] else UNDECIDABLE), why

    return test


def margin_explodes(document: Document) -> Answer:
    """The margin of DPO at β .1 runs into the hundreds."""
    ends = {v: last(document, "dpo", v, "rewards/margins") for v in ("phase1", "beta")}
    peak = max(value for values in ends.values() for value in values)
    why = (
        f"margins at the end, by seed: β .1 {listed(ends['phase1'])}; β .3 with everything else as "
        f"it was {listed(ends['beta'])}"
    )
    return (CONFIRMED if peak > 100 else REFUTED), why


def loss_vanishes(document: Document) -> Answer:
    """DPO's loss is about 0 from step 30 on."""
    ends = last(document, "dpo", "phase1", "loss")
    return (
        CONFIRMED if max(ends) < 0.05 else REFUTED
    ), f"loss over the last tenth of 200 steps, by seed: {listed(ends)} (log 2 is 0.693)"


def groups_collapse(document: Document) -> Answer:
    """Groups of four have no spread, groups of eight do."""
    shares = {v: whole(document, "grpo", v, "frac_reward_zero_std") for v in ("phase1", "group")}
    why = (
        f"share of groups whose rewards are all alike, by seed: k = 4 {listed(shares['phase1'])}; "
        f"k = 8 {listed(shares['group'])}"
    )
    return (CONFIRMED if min(shares["phase1"]) > max(*shares["group"], 0.02) else REFUTED), why


def ranking(document: Document) -> Answer:
    """PPO falls from first to last, DPO rises to first."""
    scorer, told = document["scorer"], 0
    for context in PHASES:
        for family, pairs in (
            ("methods", (("ppo", "dpo"), ("grpo", "dpo"), ("grpo", "ppo"))),
            ("policies", (("dpo", "sft"), ("ppo", "sft"), ("grpo", "sft"))),
        ):
            for one, other in pairs:
                told += either(document, family, one, other, context, scorer)
    orders = {
        context: sorted(ranks, key=lambda policy: ranks[policy])
        for context in PHASES
        for ranks in [document["ranks"][context][scorer]["overall"]]
    }
    said = "; ".join(f"{context}: {', '.join(order)}" for context, order in orders.items())
    why = f"order by mean, {said}; {told} of 12 pairs in these orders are told apart"
    before, after = orders.values()
    as_claimed = before[0] == after[-1] == "ppo" and after[0] == "dpo"
    if told < 12:
        return UNDECIDABLE, why
    return (CONFIRMED if as_claimed else REFUTED), why


def either(
    document: Document, family: str, one: str, other: str, context: str, scorer: str
) -> bool:
    """Whether two policies are told apart, whichever was subtracted from the other."""
    for after, before in ((one, other), (other, one)):
        try:
            return compared(document, family, after, before, context, scorer)["distinguishable"]
        except LookupError:
            continue
    raise LookupError(f"{one} and {other} were not compared in {scorer}")


def most_varied(document: Document) -> Answer:
    """DPO's scores scatter most over prompts."""
    scorer = document["scorer"]
    spread = {
        policy: statistics.stdev(by_scorer[scorer])
        for policy, by_scorer in document["per_prompt"]["phase1"].items()
    }
    said = ", ".join(f"{policy} {number(value, 2)}" for policy, value in spread.items())
    most = max(spread, key=lambda policy: spread[policy])
    why = f"standard deviation over prompts of the mean over seeds: {said}"
    near = sorted(spread.values())
    if most == "dpo" and near[-1] > 1.1 * near[-2]:
        return CONFIRMED, why
    return (REFUTED if spread["dpo"] < 1.1 * near[0] else UNDECIDABLE), why


def short_answers(document: Document) -> Answer:
    """Right short answers score below fluent nonsense."""
    found = {name: audit["short_answers"] for name, audit in document.get("audits", {}).items()}
    if not found:
        return UNDECIDABLE, "no audit of the reward models was given"
    said = "; ".join(
        f"{name}: {number(100 * s['value'], 0)} % [{number(100 * s['ci95'][0], 0)} %, "
        f"{number(100 * s['ci95'][1], 0)} %] of {s['rows']} questions"
        for name, s in found.items()
    )
    why = f'right short answers ("Paris") above forty words of fluent nonsense, {said}'
    if all(share["ci95"][1] < 0.5 for share in found.values()):
        return CONFIRMED, why
    return (REFUTED if all(s["ci95"][0] > 0.5 for s in found.values()) else UNDECIDABLE), why


def last(document: Document, stage: str, variant: str, metric: str) -> list[float]:
    """A metric's mean over the last tenth of its points, a number for each seed."""
    seeds = curve(document, stage, variant, metric)["seeds"].values()
    return [
        statistics.fmean(v for _, v in points[-max(1, len(points) // 10) :]) for points in seeds
    ]


def whole(document: Document, stage: str, variant: str, metric: str) -> list[float]:
    """A metric's mean over all of its points, a number for each seed."""
    seeds = curve(document, stage, variant, metric)["seeds"].values()
    return [statistics.fmean(value for _, value in points) for points in seeds]


def curve(document: Document, stage: str, variant: str, metric: str) -> Mapping[str, Any]:
    """A curve of a variant, which may share the runs of an earlier one."""
    found = document["training"][stage]
    return found["curves"][found["shared"].get(variant, variant)][metric]


def listed(values: Sequence[float]) -> str:
    """`1.23, 1.31 and 1.19`."""
    *most, end = (number(value, 3) for value in values)
    return f"{', '.join(most)} and {end}" if most else end


CLAIMS = (
    Claimed("PPO wins phase 1: +0.98 over SFT", direction("policies", "ppo", "sft", "phase1", 1)),
    Claimed("GRPO falls below SFT in phase 1: −3.13",
            direction("policies", "grpo", "sft", "phase1", -1)),
    Claimed("DPO falls below SFT in phase 1: −0.61",
            direction("policies", "dpo", "sft", "phase1", -1)),
    Claimed("At β .1 DPO's margin explodes, to 599", margin_explodes),
    Claimed("At β .1 DPO's loss is about 0 from step 30 on", loss_vanishes),
    Claimed("DPO varies most over prompts", most_varied),
    Claimed("Groups of four collapse, groups of eight do not", groups_collapse),
    Claimed("Sampling alone improves SFT by 1.12",
            direction("variants", "sampling5", "phase1", "sft", 1)),
    Claimed("GRPO's training gains 3.43 between the phases", phase_gain("grpo")),
    Claimed("DPO's training gains 1.75 between the phases", phase_gain("dpo")),
    Claimed("A larger group makes GRPO better",
            direction("variants", "group", "phase1", "grpo", 1)),
    Claimed("β .3 makes DPO better", direction("variants", "beta", "phase1", "dpo", 1)),
    Claimed("kl_coef .1 over-constrains PPO: −0.47",
            direction("variants", "kl", "phase1", "ppo", -1)),
    Claimed("The reward model scores \"Paris\" low whoever says it", short_answers),
    Claimed("The ranking reverses: PPO from first to last, DPO from third to first", ranking),
)  # fmt: skip
"""The original's claims, in its order, with its own figures (its reward model's scale)."""


def table(document: Document) -> str:
    """A Markdown table of claims, verdicts and reasons."""
    lines = ["| claimed | verdict | because |", "| --- | --- | --- |"]
    for claimed in CLAIMS:
        verdict, why = claimed.test(document)
        lines.append(f"| {claimed.text} | **{verdict}** | {why.replace('|', '&#124;')} |")
    return "\n".join(lines)


def filled(page: str, document: Document) -> str:
    """A page with the table between its two comments."""
    whole_table = table(document)
    return re.sub(
        r"(<!-- claims -->\n).*?(<!-- end claims -->)",
        lambda m: f"{m[1]}\n{whole_table}\n\n{m[2]}",
        page,
        flags=re.DOTALL,
    )


def main(study: Path, target: Path, audits: Mapping[str, Path]) -> None:
    """Put the table into the page, and print it."""
    numbers = json.loads((study / "study_report.json").read_text(encoding="utf-8"))
    numbers["audits"] = {
        name: json.loads((folder / "audit.json").read_text(encoding="utf-8"))
        for name, folder in audits.items()
    }
    target.write_text(filled(target.read_text(encoding="utf-8"), numbers), encoding="utf-8")
    print(table(numbers))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    given = dict(word.split("=", 1) for word in sys.argv[3:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), {name: Path(p) for name, p in given.items()})
