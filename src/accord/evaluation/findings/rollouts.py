"""Checks of what a policy wrote while it was trained on its own completions.

The learned reward is a stand-in for what is wanted; a judge that no stage trained on says when the
two part (Gao et al., arXiv 2210.10760).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.evaluation.findings.finding import (
    SOFTER,
    Curves,
    Document,
    Finding,
    above,
    below,
    first,
    last,
    mean,
    measured_kl,
    plain,
    signed,
    span,
    stages_of,
)
from accord.evaluation.findings.preference import STILL_KL, resolution
from accord.evaluation.findings.trends import FEWEST, Trend, correlation, trend

KINDS = ("ppo", "grpo", "online")
JUDGE, MEAN = "judges/", "/mean"
SIZES = ("length",)  # judges that measure no quality
NO_QUALITY = (*SIZES, "fluency", "distinct_2")
"""Scorers that measure none either: a policy is meant to leave its reference."""
HINT, HINT_SPREAD = 2.0, 0.25
"""Rise at which it is no longer said that there was none: in standard errors, and in standard
deviations of the rewards of one prompt."""
FELL_BACK, FELL_LEAST = 0.20, 0.15
"""Share of a judge's rise, and of its highest level, that must be lost before its fall counts."""
UNIQUE_LOW, UNIQUE_LOST, UNIQUE_FALL = 0.80, 0.50, 0.10
"""Share of different completions: warning, problem, and the fall that either needs."""
ALIKE_HIGH, ALIKE_MOST = 0.50, 0.80
"""Share of groups whose rewards are all equal: warning, problem."""
LENGTH_MOVED = 0.30
"""Relative change of the mean length worth a warning while the reward rises."""
CUT_HIGH, CUT_MOST, NEVER_ENDS = 0.30, 0.70, 0.98
"""Share of completions that were cut off: warning, problem; over a whole run: it has no end."""


def reward_name(curves: Curves) -> str:
    """The metric that holds the mean reward of a roll-out."""
    return "reward" if "reward" in curves else "objective/scores"


def judges(curves: Curves) -> dict[str, str]:
    """Label to metric of the judges that measure quality."""
    labels = {m[len(JUDGE) : -len(MEAN)]: m for m in curves if m.startswith(JUDGE)}
    return {label: metric for label, metric in labels.items() if label not in SIZES}


def movement(document: Document) -> Iterator[Finding]:
    """Whether the policy left the reference, and whether its reward rose."""
    for stage, config, curves in stages_of(document, KINDS):
        kl, measured = last(curves, "objective/kl"), measured_kl(document, stage)
        start, end = first(curves, reward_name(curves)), last(curves, reward_name(curves))
        if kl is None or start is None or end is None:
            continue
        evidence = {"stage": stage, "kl": kl, "evaluated_kl": measured, "reward": [start, end]}
        evidence |= {"steps": span(curves["objective/kl"]), **resolution(config)}
        path = f"reward {plain(start)} → {plain(end)}, KL {plain(kl)} nats a completion"
        course = trend(curves[reward_name(curves)])
        if kl < STILL_KL and (measured is None or measured < STILL_KL):
            yield Finding(
                "policy_did_not_move",
                "problem",
                f"{stage} did not move its policy: {path}.",
                evidence,
                "raise lr or the number of steps, and see that completions of one prompt differ "
                f"in reward; {_hold(config)}",
            )
        elif course is not None and not hinted(curves, course):
            yield Finding(
                "reward_did_not_rise",
                "warning",
                f"{stage} moved its policy, but its reward did not measurably rise: {path}.",
                evidence,
                "raise lr or the number of steps, or collect more completions a step",
            )
        else:
            yield Finding("policy_moved", "info", f"{stage} moved: {path}.", evidence)


def hinted(curves: Curves, course: Trend) -> bool:
    """Whether the reward may have risen, so that nobody can say that it did not."""
    rise, spread = course.means[-1] - course.means[0], last(curves, "reward_std")
    large = spread is not None and 0 < HINT_SPREAD * spread < rise
    return large or rise > HINT * course.error


def overoptimised(document: Document) -> Iterator[Finding]:
    """The reward went on rising while a judge, which was not trained on, fell."""
    for stage, config, curves in stages_of(document, KINDS):
        reward = trend(curves.get(reward_name(curves), []))
        for label, metric in judges(curves).items():
            judged = trend(curves[metric])
            if reward is None or judged is None:
                continue
            best = judged.best
            if _fell_back(judged) and reward.rose(best):
                yield _overoptimised(stage, config["kind"], curves, label, judged, reward)
            elif reward.rose() and judged.rose():
                yield Finding(
                    "judge_follows_reward",
                    "info",
                    f"{stage}'s {label}, which it was not trained on, rose with its reward: "
                    f"{plain(judged.means[0])} → {plain(judged.means[-1])}.",
                    {"stage": stage, "judge": label, "means": list(judged.means)},
                )


def _overoptimised(
    stage: str, kind: str, curves: Curves, label: str, judged: Trend, reward: Trend
) -> Finding:
    best = judged.best
    step, top, end = judged.steps[best], judged.means[best], judged.means[-1]
    kl = trend(curves.get("objective/kl", []))
    cost = "" if kl is None else f", KL {plain(kl.means[best], 1)} → {plain(kl.means[-1], 1)} nats"
    evidence = {
        "stage": stage, "judge": label, "step": step, "steps": [step, judged.steps[-1]],
        "judge_start": judged.means[0],
        "judge_best": top, "judge_end": end, "reward_then": reward.means[best],
        "reward_end": reward.means[-1], "kl_then": kl and kl.means[best],
        "kl_end": kl and kl.means[-1],
    }  # fmt: skip
    return Finding(
        "over_optimised",
        "problem" if end < judged.means[0] else "warning",
        f"{stage} is over-optimised: from about step {step:,} its reward rose on "
        f"({plain(reward.means[best])} → {plain(reward.means[-1])}) while {label}, which it was "
        f"not trained on, fell ({plain(top)} → {plain(end)}{cost}).",
        evidence,
        f"stop at about step {step:,}, {SOFTER[kind]}, or train a better reward model",
    )


def _fell_back(judged: Trend) -> bool:
    top, start, end = judged.means[judged.best], judged.means[0], judged.means[-1]
    least = max(FELL_BACK * (top - start), FELL_LEAST * abs(top))
    return judged.fell(judged.best) and top - end > least


def judge_left_behind(document: Document) -> Iterator[Finding]:
    """The evaluation finds more of the learned reward, and not more of what judges measure."""
    terms = document.get("protocol", {}).get("rewards", {})
    learned = {name for name, term in terms.items() if term.get("model")}
    trained = {name for name, _, _ in stages_of(document, KINDS)}
    # what a policy was not paid by
    outside = set(document.get("protocol", {}).get("scorers", ["vader"])) - {*terms, *NO_QUALITY}
    rows = {(r["policy"], r["scorer"]): r for r in document.get("comparisons", [])}
    for (policy, scorer), row in rows.items():
        if policy not in trained or scorer not in learned or row["ci95"][0] <= 0:
            continue
        for (other, label), judge in rows.items():
            if other != policy or label not in outside or judge["ci95"][0] > 0:
                continue
            yield Finding(
                "reward_without_judge",
                "problem" if judge["ci95"][1] < 0 else "warning",
                f"{policy} gained in the learned {scorer} ({signed(row['difference'])}) and not "
                f"in {label} ({signed(judge['difference'])} [{plain(judge['ci95'][0])}, "
                f"{plain(judge['ci95'][1])}]).",
                {"policy": policy, scorer: row, label: judge},
                "train a better reward model, stop earlier, or hold the policy nearer to the "
                "reference",
            )


def collapse(document: Document) -> Iterator[Finding]:
    """The share of different completions in a roll-out fell."""
    for stage, config, curves in stages_of(document, KINDS):
        start, end = first(curves, "unique"), last(curves, "unique")
        if start is None or end is None:
            continue
        few = start < UNIQUE_LOW and end > start / 2  # a task with few answers
        if end < UNIQUE_LOW and start - end > UNIQUE_FALL and not few:
            yield Finding(
                "rollouts_repeat",
                "problem" if end < UNIQUE_LOST else "warning",
                f"{stage} collapses: {end:.0%} of the completions in a roll-out now differ, "
                f"{start:.0%} at the start.",
                {
                    "stage": stage,
                    "steps": below(curves["unique"], UNIQUE_LOW),
                    "start": start,
                    "end": end,
                },
                f"{SOFTER[config['kind']]}, stop earlier, or sample at a higher temperature",
            )


def spread(document: Document) -> Iterator[Finding]:
    """Groups whose completions all have the same reward teach nothing; a critic's do."""
    for stage, _, curves in stages_of(document, ("grpo", "online")):
        alike = last(curves, "frac_reward_zero_std")
        if alike is not None and alike > ALIKE_HIGH:
            grave = "problem" if alike > ALIKE_MOST else "warning"
            yield Finding(
                "groups_without_spread",
                "info" if _solved(curves) else grave,
                f"{stage}: in {alike:.0%} of the last groups all completions had the same reward; "
                "such a group gives no gradient.",
                {
                    "stage": stage,
                    "steps": above(curves["frac_reward_zero_std"], ALIKE_HIGH),
                    "share": alike,
                    "unique": last(curves, "unique"),
                },
                "use prompts that are neither always nor never answered well, sample at a higher "
                "temperature or in larger groups, or set dynamic_sampling",
            )


def _solved(curves: Curves) -> bool:
    """Whether rewards are alike because they rose, while completions still differ."""
    course, unique = trend(curves.get(reward_name(curves), [])), last(curves, "unique")
    return course is not None and course.rose() and unique is not None and unique > UNIQUE_LOW


def length(document: Document) -> Iterator[Finding]:
    """The length of completions moved while the reward rose: it may be what is paid."""
    for stage, config, curves in stages_of(document, KINDS):
        start, end = (at(curves, "completions/mean_length") for at in (first, last))
        reward = trend(curves.get(reward_name(curves), []))
        if not start or end is None or reward is None or not reward.rose():
            continue
        change = end / start - 1.0
        if abs(change) > LENGTH_MOVED:
            sizes = curves["completions/mean_length"]
            together = correlation(sizes, curves[reward_name(curves)])
            tie = "" if together is None else f" (correlation {signed(together)} over roll-outs)"
            yield Finding(
                "length_drift",
                "warning",
                f"{stage}'s completions went from {plain(start, 1)} to {plain(end, 1)} tokens "
                f"while its reward rose{tie}: the reward may be paid in length.",
                {
                    "stage": stage,
                    "steps": _moved(sizes, start),
                    "start": start,
                    "end": end,
                    "correlation": together,
                },
                "use a reward that length does not move (see the reward model's length "
                f"correlation), or {SOFTER[config['kind']]}",
            )


def truncation(document: Document) -> Iterator[Finding]:
    """Most of what is learned from was cut off."""
    for stage, _, curves in stages_of(document, KINDS):
        cut = last(curves, "completions/clipped_ratio")
        if cut is not None and cut > CUT_HIGH:
            yield Finding(
                "truncation_dominates",
                "problem" if cut > CUT_MOST else "warning",
                f"{stage}: {cut:.0%} of the last completions were cut off at the limit before they "
                "ended; their reward is that of a fragment.",
                {
                    "stage": stage,
                    "steps": above(curves["completions/clipped_ratio"], CUT_HIGH),
                    "share": cut,
                    "start": first(curves, "completions/clipped_ratio"),
                },
                "raise rollout.sampling.max_new_tokens, or set missing_end_penalty",
            )


def endless(document: Document) -> Iterator[Finding]:
    """From the first roll-out on hardly a completion reaches its end token."""
    for stage, _, curves in stages_of(document, KINDS):
        points = curves.get("completions/clipped_ratio", [])
        if len(points) >= FEWEST and mean(points) > NEVER_ENDS:
            yield Finding(
                "no_end_token",
                "problem",
                f"{stage}'s policy hardly ever writes its end token: {mean(points):.1%} of all "
                "completions were cut off.",
                {"stage": stage, "steps": span(points), "share": mean(points)},
                "see that responses end with the end token in SFT (accord data check), that the "
                "tokenizer's end token is the template's, or raise rollout.sampling.max_new_tokens",
            )


def _moved(sizes: Sequence[Sequence[float]], start: float) -> list[int]:
    """Since when the length has stood apart from its start."""
    return above([(step, abs(size / start - 1.0)) for step, size in sizes], LENGTH_MOVED)


def _hold(config: Mapping[str, Any]) -> str:
    key = "kl_coef" if config["kind"] == "ppo" else "beta"
    return f"{key} {config.get(key, 'as set')} may hold it too tightly"
