"""The evaluation itself: sample every policy, score it, compare it with the reference.

Everything here is per evaluation; `document` joins it with what the training stages left behind.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accord.config.rewards import RewardTerm
from accord.config.stages import EvaluateStage
from accord.errors import AccordError
from accord.evaluation.best_of import KL, best_of, judges_of, kl_of
from accord.evaluation.corpus import copied_share, corpus_statistics, strayed
from accord.evaluation.likelihood import Policy, sequence_kl
from accord.evaluation.protocol import sample_policy, untouched
from accord.evaluation.samples import Prompt, Sample
from accord.evaluation.scorers import Score, scorers
from accord.evaluation.statistics import (
    Floats,
    bootstrap,
    histogram,
    paired_difference,
    win_rate,
)
from accord.rewards.total import LoadModel

Loader = Callable[[str], Policy]


class Measurements:
    """What was drawn from every policy, and its scores.

    Args:
        config: The evaluate stage's settings.
        prompts: The fixed prompts.
        seed: Of samples and intervals.
    """

    def __init__(self, config: EvaluateStage, prompts: Sequence[Prompt], seed: int) -> None:
        self.config, self.prompts, self.seed = config, prompts, seed
        self.samples: dict[str, list[Sample]] = {}
        self.scores: dict[str, dict[str, Floats]] = {}
        self.kl: dict[str, dict[str, Any]] = {}
        self.per_prompt = [p for p in prompts for _ in range(config.samples_per_prompt)]

    @property
    def names(self) -> list[str]:
        """Policies, the reference first."""
        return list(self.samples)

    def add(self, policy: Policy, reference: Policy, judges: Mapping[str, Score]) -> None:
        """Draw from a policy, score what it wrote and measure its KL from the reference."""
        config, count = self.config, self.config.samples_per_prompt
        samples = sample_policy(policy, self.prompts, config.sampling, count, self.seed)
        self.enter(policy.name, samples, self._kl(policy, reference), judges)

    def enter(
        self,
        name: str,
        samples: Sequence[Sample],
        kl: dict[str, Any],
        judges: Mapping[str, Score],
    ) -> None:
        """Score what a policy wrote, and keep it with its KL."""
        shape = (-1, self.config.samples_per_prompt)
        self.samples[name], self.kl[name] = list(samples), kl
        self.scores[name] = {
            scorer: np.array(judge(self.per_prompt, samples)).reshape(shape)
            for scorer, judge in judges.items()
        }

    def _kl(self, policy: Policy, reference: Policy) -> dict[str, Any]:
        """KL(π‖π_ref) over whole completions at temperature 1, in nats, with its interval."""
        if policy is reference:  # 0 by definition
            return {"mean": 0.0, "ci95": [0.0, 0.0], "n": len(self.prompts), "per_token": 0.0}
        count = self.config.samples_per_prompt
        sampling = untouched(self.config.sampling)
        # another seed than the displayed samples', whose randomness would otherwise be shared
        drawn = sample_policy(policy, self.prompts, sampling, count, self.seed + 1)
        sums = sequence_kl(policy, reference, self.per_prompt, drawn)
        totals = np.array([s.total for s in sums]).reshape(-1, count)
        interval = bootstrap(totals, self.config.bootstrap, self.seed)
        per_token = float(totals.sum() / sum(s.tokens for s in sums))
        return {**interval.to_json(), "per_token": per_token}


def evaluate(
    config: EvaluateStage,
    prompts: Sequence[Prompt],
    load: Loader,
    load_reward: LoadModel,
    copies_from: Iterable[str],
    seed: int,
) -> dict[str, Any]:
    """Run the whole protocol; one policy at a time is held beside the reference.

    Args:
        config: The evaluate stage's settings.
        prompts: From `protocol.fixed_prompts`.
        load: Name of a policy to the policy, ready on its device.
        load_reward: Name of a reward model to the reward it gives.
        copies_from: Training texts in which copied 8-grams are looked for; may be empty.
        seed: Of samples and intervals.

    Returns:
        The evaluation as plain JSON values: `policies`, `histograms`,
        `comparisons`, `samples`, `protocol`.

    Raises:
        AccordError: If a policy does not share the reference's tokenizer, or a scorer is unknown
            or fails.
    """
    reference = load(config.reference)
    judges = scorers(config, reference, load_reward)  # mistakes are told before any sampling
    choosing = judges_of(config, load_reward)
    measured = Measurements(config, prompts, seed)
    for name in dict.fromkeys((config.reference, *config.policies)):
        policy = reference if name == config.reference else load(name)
        _same_tokenizer(policy, reference)
        measured.add(policy, reference, judges)
    # another seed than the displayed samples' and than the KL's
    for name, samples in best_of(config, reference, prompts, choosing, seed + 2).items():
        kl = kl_of(config.best_of[name].n, samples, len(prompts))
        measured.enter(name, samples, kl, judges)
    return to_json(measured, _copies(measured, copies_from) if config.copies_from else {})


def to_json(measured: Measurements, copies: Mapping[str, float]) -> dict[str, Any]:
    """What was drawn and scored as the plain JSON values of `evaluation.json`."""
    return {
        "policies": {name: _policy(measured, name, copies) for name in measured.names},
        "histograms": _histograms(measured),
        "comparisons": _comparisons(measured),
        "samples": _samples(measured),
        "protocol": _protocol(measured.config, len(measured.prompts), measured.seed),
    }


def _same_tokenizer(policy: Policy, reference: Policy) -> None:
    """Refuse a policy for which ids mean other tokens; its chat template may differ."""
    if not policy.tokenizer.same_ids(reference.tokenizer):
        raise AccordError(
            f"'{policy.name}' has another tokenizer than the reference '{reference.name}'.",
            "policies",
            "compare policies that were trained from the same model",
        )


def _policy(measured: Measurements, name: str, copies: Mapping[str, float]) -> dict[str, Any]:
    config = measured.config
    scores = measured.scores[name]
    statistics: dict[str, float] = corpus_statistics(measured.samples[name])
    if "vader" in scores:
        statistics["positive"] = float((scores["vader"] > 0).mean())
    if name in copies:
        statistics["copies"] = copies[name]
    intervals = {s: bootstrap(v, config.bootstrap, measured.seed) for s, v in scores.items()}
    return {
        "scores": {s: interval.to_json() for s, interval in intervals.items()},
        "kl": measured.kl[name],
        "statistics": statistics,
        "strayed": strayed(measured.per_prompt, measured.samples[name]),
    }


def _copies(measured: Measurements, corpus: Iterable[str]) -> dict[str, float]:
    written = {n: [s.text for s in samples] for n, samples in measured.samples.items()}
    return copied_share(written, corpus)


def _histograms(measured: Measurements) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in measured.scores[measured.names[0]]:
        columns = [measured.scores[policy][name] for policy in measured.names]
        edges, counts = histogram(columns)
        out[name] = {"edges": edges, "counts": dict(zip(measured.names, counts, strict=True))}
    return out


def _comparisons(measured: Measurements) -> list[dict[str, Any]]:
    config, reference = measured.config, measured.config.reference
    out = []
    for policy in measured.names:
        if policy == reference:
            continue
        for name, ours in measured.scores[policy].items():
            theirs = measured.scores[reference][name]
            difference = paired_difference(ours, theirs, config.bootstrap, measured.seed)
            wins = win_rate(ours, theirs, config.bootstrap, measured.seed)
            out.append(
                {
                    "policy": policy,
                    "reference": reference,
                    "scorer": name,
                    "difference": difference.mean,
                    "ci95": [difference.low, difference.high],
                    "win_rate": wins.mean,
                    "win_rate_ci95": [wins.low, wins.high],
                    "n": difference.n,
                }
            )
    return out


def _samples(measured: Measurements) -> list[dict[str, Any]]:
    """For each prompt every policy's first sample, and its scores averaged over its samples."""
    step = measured.config.samples_per_prompt
    return [
        {
            "id": prompt.id,
            "prompt": prompt.text,
            "continues": prompt.continues,
            "policies": {
                name: {
                    "completion": measured.samples[name][i * step].text,
                    "ended": measured.samples[name][i * step].ended,
                    "scores": {s: float(v[i].mean()) for s, v in measured.scores[name].items()},
                }
                for name in measured.names
            },
        }
        for i, prompt in enumerate(measured.prompts)
    ]


def _described(term: RewardTerm) -> dict[str, Any]:
    """What a reward is, its weight left out: scores are not added up."""
    return term.model_dump(mode="json", exclude={"weight"}, exclude_defaults=True)


def _protocol(config: EvaluateStage, prompts: int, seed: int) -> dict[str, Any]:
    return {
        "reference": config.reference,
        "policies": list(config.policies),
        "scorers": [*config.scorers, *config.rewards],
        "rewards": {name: _described(term) for name, term in config.rewards.items()},
        "prompts": prompts,
        "shown": config.shown,
        "best_of": {
            name: {"n": best.n, "reward": [_described(term) for term in best.reward]}
            for name, best in config.best_of.items()
        },
        "samples_per_prompt": config.samples_per_prompt,
        "sampling": config.sampling.model_dump(mode="json"),
        "kl": "exact per-token KL(policy || reference) over the whole vocabulary, summed along "
        "completions sampled from the policy at temperature 1 (Rao-Blackwellised), in nats"
        + (f"; {KL}" if config.best_of else ""),
        "bootstrap": config.bootstrap,
        "seed": seed,
    }
