"""Checks of what a run forgot, mixed up or saw before: other scripts, held-out text, prompts."""

from collections.abc import Iterator, Mapping
from typing import Any

from accord.evaluation.findings.finding import (
    Curves,
    Document,
    Finding,
    below,
    course,
    first,
    plain,
    span,
    stages_of,
)
from accord.evaluation.findings.preference import moved
from accord.evaluation.findings.trends import trend

STRAYED = 0.10
"""Share of letters outside the prompts' scripts, more than the reference's."""
FEW_LETTERS = 100
"""Letters below which no share is taken."""
LEAKED_MUCH = 0.05
"""Share of the prompts above which leakage is a problem."""
FORGOT, FORGOT_MUCH = 0.02, 0.10
"""Relative rise of held-out bits per byte over an earlier stage's: warning, problem."""
NLL_ROSE = 0.10
"""Relative rise of the chosen responses' loss while a stage trains on pairs."""
CHOSEN_LOST = 0.50
"""The same of a loss that does not hold it: pairs alone push it up a little (`chosen_fell`)."""


def scripts(document: Document) -> Iterator[Finding]:
    """Completions in scripts that their prompts do not use, more than the reference has."""
    policies = document.get("policies", {})
    reference = document.get("protocol", {}).get("reference")
    theirs = policies.get(reference, {}).get("strayed", {}).get("share", 0.0)
    for policy, measured in policies.items():
        ours = measured.get("strayed", {"share": 0.0, "letters": 0})
        share, letters = ours["share"], ours["letters"]
        if policy == reference or letters < FEW_LETTERS or share <= theirs + STRAYED:
            continue
        yield Finding(
            "script_drift",
            "warning",
            f"{policy} drifts into another script: {share:.0%} of the letters it wrote are in "
            f"{' and '.join(ours['scripts'][:2])}, which the prompts do not use; {theirs:.0%} of "
            "the reference's.",
            {"policy": policy, "share": share, "reference": theirs, "letters": letters},
            "add a reward for the prompt's language, hold the policy nearer to the reference, or "
            "train on rows of that language too",
        )


def forgetting(document: Document) -> Iterator[Finding]:
    """Held-out text that a later stage predicts worse than the stage it came from."""
    held = document.get("heldout", {})
    for stage, facts in document.get("stages", {}).items():
        for earlier in _ancestors(document, stage):
            for source, now in held.get(stage, {}).items():
                before = held.get(earlier, {}).get(source)
                if source != "overall" and isinstance(now, Mapping) and before:
                    yield from _forgot(stage, earlier, source, now, before)
        curves = document.get("curves", {}).get(stage, {})
        if facts.get("kind") == "preference":
            yield from _unlearned(stage, facts.get("config", {}), curves)
        found = trend(curves.get("nll_loss", []))
        if facts.get("kind") in ("preference", "online") and found and found.rose():
            start, end = found.means[0], found.means[-1]
            if start > 0 and end > (1.0 + NLL_ROSE) * start:
                yield Finding(
                    "forgetting",
                    "warning",
                    f"{stage} unlearns what it was fine-tuned on: the chosen responses' loss rose "
                    f"from {plain(start, 3)} to {plain(end, 3)} nats a token.",
                    {"stage": stage, "steps": span(curves["nll_loss"]), "nll_loss": [start, end]},
                    "give sft more weight (loss: {sigmoid: 1, sft: 0.3}), raise beta, or lower lr",
                )


def _unlearned(stage: str, config: Mapping[str, Any], curves: Curves) -> Iterator[Finding]:
    """The chosen responses, which are what SFT taught, are much less likely than at the start."""
    reward, level = moved(config, curves, "rewards/chosen"), first(curves, "logps/chosen")
    if reward is None or not level:
        return
    before, rise = -level, -reward / config.get("beta", 0.1)
    if rise > CHOSEN_LOST * before > 0:
        bound = -config.get("beta", 0.1) * CHOSEN_LOST * before
        yield Finding(
            "forgetting",
            "problem",
            f"{stage} unlearns what it was fine-tuned on: a chosen response costs "
            f"{plain(before + rise, 1)} nats, {plain(before, 1)} at the start.",
            {
                "stage": stage,
                "steps": below(course(curves, "rewards/chosen"), bound),
                "nats": [before, before + rise],
            },
            "give sft more weight (loss: {sigmoid: 1, sft: 0.3}), raise beta, or lower lr",
        )


def _ancestors(document: Document, stage: str) -> Iterator[str]:
    """The stages that a stage's model came from, nearest first."""
    stages, seen = document.get("stages", {}), {stage}
    while (stage := stages.get(stage, {}).get("config", {}).get("from")) and stage not in seen:
        seen.add(stage)
        yield stage


def _forgot(
    stage: str, earlier: str, source: str, found: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[Finding]:
    now, then = found.get("bits_per_byte"), before.get("bits_per_byte")
    if now and then and now > (1.0 + FORGOT) * then:
        yield Finding(
            "forgetting",
            "problem" if now > (1.0 + FORGOT_MUCH) * then else "warning",
            f"{stage} forgot: held-out text of {source} takes {plain(now, 3)} bits a byte, "
            f"{plain(then, 3)} after {earlier}.",
            {"stage": stage, "earlier": earlier, "source": source, "bits_per_byte": [then, now]},
            f"mix rows of {source} into {stage}, lower lr, or train for fewer steps",
        )


def leakage(document: Document) -> Iterator[Finding]:
    """Evaluation prompts that a model was trained on: looked up in its rows, or by settings."""
    for name, config, _ in stages_of(document, ("evaluate",)):
        counted = document.get("protocol", {}).get("trained_on", {})
        for stage, found in counted.items():
            if found.get("prompts"):
                yield _asked(name, stage, found)
        prompts = config.get("prompts", {})
        asked = {source["source"] for source in prompts.get("data", [])}
        held = prompts.get("heldout")
        for stage, facts in document.get("stages", {}).items():
            theirs = facts.get("config", {})
            shared = sorted(asked & {source["source"] for source in theirs.get("data") or []})
            if facts.get("kind") in ("tokenizer", "evaluate") or not shared:
                continue
            counts = counted.get(stage, {}).get("prompts")
            if counts or (held and _covers(theirs.get("heldout"), held)):
                continue
            yield Finding(
                "leakage",
                "problem",
                f"{name} may ask what {stage} was trained on: both read {', '.join(shared)}, and "
                f"{stage} does not hold out the rows that the prompts are taken from.",
                {
                    "stage": stage,
                    "sources": shared,
                    "heldout": theirs.get("heldout"),
                    "prompts": held,
                },
                f"give {name}'s prompts and {stage} the same heldout (fraction and salt)",
            )


def _asked(name: str, stage: str, found: Mapping[str, Any]) -> Finding:
    """Prompts that stand word for word among the rows of a model's training."""
    share = found["prompts"] / found["of"]
    return Finding(
        "leakage",
        "problem" if share > LEAKED_MUCH else "warning",
        f"{name} asks what {stage} was trained on: {found['prompts']:,} of {found['of']:,} prompts "
        f"stand in its training rows, such as “{found['examples'][0]}”.",
        {"stage": stage, "share": share, **found},
        f"hold these prompts out of {stage} (heldout.prompts, or sources grouped by their prompt)",
    )


def _covers(stage: Mapping[str, Any] | None, prompts: Mapping[str, Any]) -> bool:
    """Whether all rows that the prompts come from are among those that the stage held out."""
    return (
        stage is not None
        and stage.get("salt") == prompts.get("salt")
        and stage.get("fraction", 0.0) >= prompts.get("fraction", 0.0)
    )
