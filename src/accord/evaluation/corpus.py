"""Statistics of everything a policy wrote: diversity, length, copies."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accord.evaluation.samples import Prompt, Sample
from accord.text.measure import script_of

COPY_WORDS = 8


def words(text: str) -> list[str]:
    """White-space words without case: the one split that treats every script alike."""
    return text.casefold().split()


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def distinct(texts: Iterable[str], n: int) -> float:
    """Different n-grams divided by all n-grams, over all texts together; 0 where there are none.

    It falls with the amount of text, so policies are compared on equally many samples.
    Source: Li et al., arXiv 1510.03055.
    """
    found = [gram for text in texts for gram in ngrams(words(text), n)]
    return len(set(found)) / len(found) if found else 0.0


def corpus_statistics(samples: Sequence[Sample]) -> dict[str, float]:
    """`distinct_2`, `unique` (share of different completions), `ended` (share that stopped by
    itself), `length` (mean tokens), `empty` (share without a word)."""
    texts = [sample.text for sample in samples]
    n = len(samples)
    return {
        "distinct_2": distinct(texts, 2),
        "unique": len({text.strip() for text in texts}) / n,
        "ended": sum(sample.ended for sample in samples) / n,
        "length": sum(sample.length for sample in samples) / n,
        "empty": sum(not text.strip() for text in texts) / n,
    }


def strayed(prompts: Sequence[Prompt], samples: Sequence[Sample]) -> dict[str, Any]:
    """Letters in scripts that their prompt does not use: `share`, all `letters`, the `scripts`.

    Args:
        prompts: One a sample; what answers a prompt without letters counts for nothing.
        samples: What a policy wrote.
    """
    strange: Counter[str] = Counter()
    letters = 0
    for prompt, sample in zip(prompts, samples, strict=True):
        known, counts = _letters(prompt.text), _letters(sample.text)
        if known:
            letters += counts.total()
            strange += Counter({s: n for s, n in counts.items() if s not in known})
    share = strange.total() / letters if letters else 0.0
    return {
        "share": share,
        "letters": letters,
        "scripts": sorted(strange, key=lambda s: -strange[s]),
    }


def _letters(text: str) -> Counter[str]:
    return Counter(script_of(letter) for letter in text if letter.isalpha())


def copied_share(
    written: Mapping[str, Sequence[str]], corpus: Iterable[str], n: int = COPY_WORDS
) -> dict[str, float]:
    """For each policy the share of its n-grams that stand in the corpus word for word.

    The corpus is read once and never held: what is held is only what policies wrote.

    Args:
        written: Policy to its completions.
        corpus: Training texts; n-grams do not run across them.
        n: Words in a run.

    Returns:
        Policy to share; 0 for a policy whose texts are all shorter than n words.
    """
    grams = {
        name: [g for t in texts for g in ngrams(words(t), n)] for name, texts in written.items()
    }
    wanted = {gram for found in grams.values() for gram in found}
    seen: set[tuple[str, ...]] = set()
    for text in corpus:
        seen.update(wanted.intersection(ngrams(words(text), n)))
    return {
        name: sum(gram in seen for gram in found) / len(found) if found else 0.0
        for name, found in grams.items()
    }
