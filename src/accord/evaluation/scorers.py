"""Scorers: a table of functions from prompts and completions to numbers. A new one is a row."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from accord.errors import AccordError, did_you_mean
from accord.evaluation.likelihood import Policy, sequence_logps
from accord.evaluation.samples import Prompt, Sample, judged_text

Score = Callable[[Sequence[Prompt], Sequence[Sample]], list[float]]


def vader(_: Policy) -> Score:
    """Sentiment of the text from −1 to 1: VADER's compound score.

    Raises:
        AccordError: If vaderSentiment is not installed.

    Source: Hutto & Gilbert, ICWSM 2014.
    """
    try:
        from vaderSentiment.vaderSentiment import (  # noqa: PLC0415 - an optional dependency
            SentimentIntensityAnalyzer,
        )
    except ImportError as missing:
        raise AccordError(
            "The scorer 'vader' needs vaderSentiment, which is not installed.",
            where="scorers",
            fix="pip install 'accord[rewards]'",
        ) from missing
    analyzer = SentimentIntensityAnalyzer()

    def score(prompts: Sequence[Prompt], samples: Sequence[Sample]) -> list[float]:
        pairs = zip(prompts, samples, strict=True)
        return [analyzer.polarity_scores(judged_text(p, s))["compound"] for p, s in pairs]

    return score


def length(_: Policy) -> Score:
    """Tokens of the completion, the one that ended it left out."""

    def score(_: Sequence[Prompt], samples: Sequence[Sample]) -> list[float]:
        return [float(sample.length) for sample in samples]

    return score


def fluency(reference: Policy) -> Score:
    """Mean log-probability a token (nats, end token included) under the reference model."""
    return partial(_mean_logps, reference)


def _mean_logps(
    reference: Policy, prompts: Sequence[Prompt], samples: Sequence[Sample]
) -> list[float]:
    return [s.mean for s in sequence_logps(reference, prompts, samples)]


SCORERS: Mapping[str, Callable[[Policy], Score]] = {
    "vader": vader,
    "length": length,
    "fluency": fluency,
}


def scorer(name: str, reference: Policy) -> Score:
    """The scorer of that name, judging with `reference` where it needs a model.

    Raises:
        AccordError: If there is none of that name, or what it needs is not installed.
    """
    if name not in SCORERS:
        raise AccordError(f"There is no scorer '{name}'.", "scorers", did_you_mean(name, SCORERS))
    return SCORERS[name](reference)
