"""Checks of the updates of a policy stage: KL, importance ratios, entropy, the critic."""

from collections.abc import Iterator

from accord.evaluation.findings.finding import (
    SOFTER,
    Curves,
    Document,
    Finding,
    first,
    last,
    plain,
    stages_of,
)
from accord.evaluation.findings.rollouts import KINDS
from accord.evaluation.findings.trends import trend

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
                {"stage": stage, "ratio_off": off, "clipped": clipped},
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
                {"stage": stage, "difference": gap},
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
                {"stage": stage, "start": start, "end": end},
                f"{SOFTER[config['kind']]}{more}, or stop earlier",
            )


def critic(document: Document) -> Iterator[Finding]:
    """A value function that predicts returns no better than their mean."""
    for stage, _, curves in stages_of(document, ["ppo"]):
        course = trend(curves.get("critic/vf_explained_var", []))
        if course is not None and course.means[-1] <= 0:
            yield Finding(
                "critic_explains_nothing",
                "warning",
                f"{stage}'s value function predicts returns no better than their mean: explained "
                f"variance {plain(course.means[-1])} at the end.",
                {"stage": stage, "explained_variance": list(course.means)},
                "start it from the reward model (critic_from), raise vf_coef, or train for more "
                "steps",
            )


def _parts(curves: Curves, metric: str) -> tuple[float, ...]:
    """Means of consecutive parts of a curve, or its values where it has too few for that."""
    points = curves.get(metric, [])
    found = trend(points)
    return found.means if found else tuple(value for _, value in points)
