"""Checks of any training stage: overfitting, and rows that were lost."""

from collections.abc import Iterator

from accord.evaluation.findings.finding import Document, Finding, plain, span

OVERFIT = 0.02
"""Relative rise of the held-out loss over its lowest value."""
ROWS_LOST = 0.10
MEANT = ("held out", "not drawn", "left out by the mixture", "shorter than", "match", "no partner")
"""Parts of reasons for which a recipe itself leaves rows out: they are no loss."""

ASKING = ("ppo", "grpo", "online", "evaluate")
"""Kinds that take prompts alone of a source: one that occurs twice is asked once."""
TWICE = "duplicate"
"""Part of the reason for which a row is left out that stood there before."""


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
                {
                    "stage": stage,
                    "steps": [step, span(points)[-1]],
                    "step": step,
                    "lowest": lowest,
                    "final": final,
                },
                f"train for about {step:,} steps",
            )


def rows(document: Document) -> Iterator[Finding]:
    """A large part of a source was left out or shortened; held-out rows are meant to be."""
    for stage, sources in document.get("rows", {}).items():
        asks = document.get("stages", {}).get(stage, {}).get("kind") in ASKING
        meant = (*MEANT, TWICE) if asks else MEANT
        for source, counts in sources.items():
            kept = counts.get("kept", 0)
            reasons = counts.get("dropped", {})
            dropped = sum(n for why, n in reasons.items() if not any(m in why for m in meant))
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
