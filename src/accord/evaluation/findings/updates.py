"""Checks of the updates of a policy stage: KL, importance ratios, entropy, the critic."""

from collections.abc import Iterator, Mapping
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
    measured_kl,
    plain,
    span,
    stages_of,
)
from accord.evaluation.findings.rollouts import KINDS, hinted, reward_name
from accord.evaluation.findings.trends import Trend, trend

KL_HIGH, KL_RUNAWAY = 0.6, 1.2
"""Nats a token from the reference: warning, problem (an untrained model's entropy is log V)."""
OVER_TARGET = 2.0
"""Times kl_target."""
RATIO_OFF = 0.10
"""Distance of the mean importance ratio from 1."""
CLIPPED_HIGH = 0.30
"""Share of tokens at which the ratio was clipped."""
SAMPLER_OFF = 0.05
"""Nats a token between the log-probabilities of sampler and trainer before the first update."""
ENTROPY_LEFT = 0.20
"""Share of the first entropy below which hardly anything is left to explore."""
NEAR_MEAN = 0.1
"""Explained variance below 0 that a critic on its way up may still have."""
KL_HELD = 0.01
"""Nats a token below which a policy stands at its reference."""
TIGHT = 0.5
"""Weight of the KL, in spreads of the reward, above which a policy cannot leave its reference."""
WEIGHTS: Mapping[str, str] = {"ppo": "kl_coef", "grpo": "beta", "online": "beta"}
"""The weight of the KL, by kind of stage."""
CLIPPED = ("policy/clipfrac_avg", "clip_ratio/region_mean")
ENTROPIES = ("policy/entropy_avg", "entropy")


def divergence(document: Document) -> Iterator[Finding]:
    """The policy ran away from its reference."""
    for stage, config, curves in stages_of(document, KINDS):
        kl, tokens = last(curves, "objective/kl"), last(curves, "completions/mean_length")
        if kl is None or not tokens:
            continue
        target, each = config.get("kl_target"), kl / max(tokens, 1.0)
        evidence = {"stage": stage, "kl": kl, "per_token": each, "kl_target": target}
        evidence["steps"] = above(
            curves["objective/kl"],
            KL_HIGH * tokens if each > KL_HIGH else OVER_TARGET * (target or 0.0),
        )
        if each > KL_HIGH:
            yield Finding(
                "kl_runaway",
                "problem" if each > KL_RUNAWAY else "warning",
                f"{stage} ran away from its reference: {plain(kl, 1)} nats a completion, "
                f"{plain(each)} a token.",
                evidence,
                f"{SOFTER[config['kind']]}, lower lr, or stop earlier",
            )
        elif target and kl > OVER_TARGET * target:
            yield Finding(
                "kl_over_target",
                "warning",
                f"{stage} ended at {plain(kl, 1)} nats a completion, above its kl_target of "
                f"{plain(target, 1)}.",
                evidence,
                "lower kl_horizon so that kl_coef adapts faster, or start from a higher kl_coef",
            )


def ratios(document: Document) -> Iterator[Finding]:
    """Updates so large that a roll-out is no longer the policy's own."""
    for stage, _, curves in stages_of(document, KINDS):
        off = max((abs(ratio - 1.0) for ratio in _parts(curves, "val/ratio")), default=0.0)
        clipped = max((share for name in CLIPPED for share in _parts(curves, name)), default=0.0)
        said = []
        if off > RATIO_OFF:
            said.append(f"the mean importance ratio stood {plain(off)} from 1")
        if clipped > CLIPPED_HIGH:
            said.append(f"{clipped:.0%} of the tokens were clipped")
        if said:
            yield Finding(
                "steps_too_large",
                "warning",
                f"{stage}'s updates are large for its roll-outs: {' and '.join(said)}.",
                {
                    "stage": stage,
                    "steps": _off(curves),
                    "ratio_off": off,
                    "clipped": clipped,
                },
                "lower lr, use fewer rollout.iterations or rollout.batches, or set kl_stop",
            )


def sampler(document: Document) -> Iterator[Finding]:
    """The sampler and the trainer do not agree on what the policy is."""
    for stage, _, curves in stages_of(document, KINDS):
        gap = last(curves, "sampling/sampling_logp_difference/mean")
        if gap is not None and gap > SAMPLER_OFF:
            yield Finding(
                "sampler_differs",
                "problem",
                f"{stage}: sampler and trainer differ by {plain(gap, 3)} nats a token on what was "
                "just sampled: roll-outs are those of another policy.",
                {
                    "stage": stage,
                    "steps": above(curves["sampling/sampling_logp_difference/mean"], SAMPLER_OFF),
                    "difference": gap,
                },
                "use the same precision for both (precision: fp32), or engine: accord",
            )


def entropy(document: Document) -> Iterator[Finding]:
    """The policy became certain of each token."""
    for stage, config, curves in stages_of(document, KINDS):
        name = next((m for m in ENTROPIES if m in curves), "")
        start, end = first(curves, name), last(curves, name)
        if start and end is not None and end < ENTROPY_LEFT * start:
            more = ", raise entropy_coef" if config["kind"] == "ppo" else ""
            yield Finding(
                "entropy_lost",
                "warning",
                f"{stage} hardly explores any more: its entropy fell from {plain(start)} to "
                f"{plain(end)} nats a token.",
                {
                    "stage": stage,
                    "steps": below(curves[name], ENTROPY_LEFT * start),
                    "start": start,
                    "end": end,
                },
                f"{SOFTER[config['kind']]}{more}, or stop earlier",
            )


def critic(document: Document) -> Iterator[Finding]:
    """A value function that predicts returns no better than their mean."""
    for stage, _, curves in stages_of(document, ["ppo"]):
        course = trend(curves.get("critic/vf_explained_var", []))
        loss = trend(curves.get("loss/value_avg", []))
        learns = loss is not None and loss.fell(len(loss.means) // 2)
        # one that still learns the level of returns comes to their differences after it
        if course is not None and course.means[-1] <= 0 and not (learns or _comes_up(course)):
            yield Finding(
                "critic_explains_nothing",
                "warning",
                f"{stage}'s value function predicts returns no better than their mean: explained "
                f"variance {plain(course.means[-1])} at the end.",
                {
                    "stage": stage,
                    "steps": below(curves["critic/vf_explained_var"], 0),
                    "explained_variance": list(course.means),
                },
                "start it from the reward model (critic_from), raise vf_coef, or train for more "
                "steps",
            )


def _comes_up(course: Trend) -> bool:
    """Whether a critic near 0 has risen from below it, as one does that begins to learn."""
    return course.means[-1] > -NEAR_MEAN and course.rose(course.means.index(min(course.means)))


def distance(document: Document) -> Iterator[Finding]:
    """The evaluation finds a policy trained on pairs far from its reference."""
    for stage, _, _ in stages_of(document, ["preference"]):
        policy = document.get("policies", {}).get(stage, {})
        kl, tokens = measured_kl(document, stage), policy.get("statistics", {}).get("length")
        if kl is not None and tokens and kl / tokens > KL_HIGH:
            yield Finding(
                "kl_runaway",
                "problem" if kl / tokens > KL_RUNAWAY else "warning",
                f"{stage} ran away from its reference: {plain(kl, 1)} nats a completion, "
                f"{plain(kl / tokens)} a token, in the evaluation.",
                {"stage": stage, "policy": stage, "kl": kl, "per_token": kl / tokens},
                f"{SOFTER['preference']}, lower lr, or stop earlier",
            )


def constraint(document: Document) -> Iterator[Finding]:
    """A pull to the reference so strong that the policy stays there and its reward with it."""
    for stage, config, curves in stages_of(document, KINDS):
        kl, tokens = last(curves, "objective/kl"), last(curves, "completions/mean_length")
        course = trend(curves.get(reward_name(curves), []))
        pull, spread = _pull(config, curves)
        if kl is None or not tokens or course is None or pull < TIGHT * spread:
            continue
        if kl / tokens < KL_HELD and not hinted(curves, course):
            yield Finding(
                "kl_over_constrained",
                "problem",
                f"{stage} is held at its reference: KL {plain(kl, 3)} nats a completion, no rise "
                f"of the reward ({plain(course.means[0])} → {plain(course.means[-1])}), and "
                f"{WEIGHTS[config['kind']]} {pull:g} where rewards spread by {plain(spread)}.",
                {
                    "stage": stage,
                    "steps": span(curves["objective/kl"]),
                    "kl": kl,
                    "per_token": kl / tokens,
                    "weight": pull,
                    "spread": spread,
                    "reward": list(course.means),
                },
                f"lower {WEIGHTS[config['kind']]}, such as to {TIGHT * spread / 10:.2g}",
            )


def _pull(config: Mapping[str, Any], curves: Curves) -> tuple[float, float]:
    """Weight of the KL, and the spread of the rewards in the unit that it is held against.

    Under the weight β the best policy is π_ref exp(r / β), whose KL is about Var(r) / (2β²).
    """
    key = WEIGHTS[config["kind"]]
    weight = last(curves, key) if key in curves else config.get(key)
    spread = last(curves, "reward_std")
    # advantages of a group have spread 1, and a loss on pairs sees only their order
    alone = config["kind"] == "ppo" or config.get("scale_rewards") == "none"
    return weight or 0.0, spread if spread and alone else 1.0


def _off(curves: Curves) -> list[int]:
    """From the first to the last step at which a ratio or a clipped share was beyond its bound."""
    steps = [step for step, ratio in curves.get("val/ratio", []) if abs(ratio - 1.0) > RATIO_OFF]
    for name in CLIPPED:
        steps += [step for step, share in curves.get(name, []) if share > CLIPPED_HIGH]
    return [int(min(steps)), int(max(steps))] if steps else []


def _parts(curves: Curves, metric: str) -> tuple[float, ...]:
    """Means of consecutive parts of a curve, or its values where it has too few for that."""
    points = curves.get(metric, [])
    found = trend(points)
    return found.means if found else tuple(value for _, value in points)
