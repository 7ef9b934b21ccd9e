"""Statistics of everything a policy wrote: diversity, length, copies."""

from collections.abc import Iterable, Mapping, Sequence

from accord.evaluation.samples import Sample

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
