"""What a trained reward model is worth on held-out rows, beside the baseline on the same rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from accord.data.packing import Example, Response
from accord.data.rows import PairRow, TextRow
from accord.data.scoring import collate_scored
from accord.evaluation import baseline
from accord.evaluation.ranking import Ranked, agreement, beside, pair_figures, score_figures
from accord.model.scorer import Scorer
from accord.stages.comparisons import Comparisons, ratings_of, shown

RESPONSES_AT_ONCE = 64

Key = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens of a prompt and of a response to it."""
Pairs = Sequence[tuple[PairRow, Example]]
Texts = Sequence[tuple[TextRow, Example]]


def heldout_figures(
    scorer: Scorer, pairs: Pairs, texts: Texts, rows: Comparisons, with_baseline: bool, seed: int
) -> dict[str, Any]:
    """Figures of `pair_figures` and `score_figures`; `rating_correlation` where texts are rated.

    `baseline` holds its `name` and the keys of `beside` (and its `rating_correlation`), or is none.
    Without held-out pairs there are no figures.
    """
    if not pairs:
        return {}
    found = score_all(scorer, [example for _, example in (*pairs, *texts)])
    ranked = _ranked(pairs, [[found[key] for key in _keys(example)] for _, example in pairs], seed)
    # rated texts each once; a pair's responses may stand in several pairs
    once = {key: None for _, example in (texts or pairs) for key in _keys(example)}
    figures = pair_figures(ranked)
    figures |= score_figures(
        np.array([found[key] for key in once]), np.array([float(len(ids)) for _, ids in once])
    )
    if texts:
        scores = np.array([found[key] for _, example in texts for key in _keys(example)])
        rating_T = np.array(ratings_of([row for row, _ in texts], rows.rating))
        figures["rating_correlation"] = agreement(scores, rating_T)
    figures["baseline"] = _baseline(pairs, texts, rows, ranked) if with_baseline else None
    return figures


@torch.no_grad()
def score_all(scorer: Scorer, examples: Iterable[Example]) -> dict[Key, float]:
    """The score of every response of the examples, each computed once."""
    keys = list(dict.fromkeys(key for example in examples for key in _keys(example)))
    # alike lengths together, so that attention pads little
    keys.sort(key=lambda key: (len(key[0]) + len(key[1]), key))
    device = scorer.score.weight.device
    found: dict[Key, float] = {}
    for at in range(0, len(keys), RESPONSES_AT_ONCE):
        chosen = keys[at : at + RESPONSES_AT_ONCE]
        single = [Example(prompt, (Response(ids, ()),)) for prompt, ids in chosen]
        scores_R = scorer(collate_scored(single, scorer.pooling).to(device))
        found |= dict(zip(chosen, scores_R.tolist(), strict=True))
    return found


def _keys(example: Example) -> list[Key]:
    return [(example.prompt, response.ids) for response in example.responses]


def _ranked(pairs: Pairs, scores: Sequence[Sequence[float]], seed: int) -> Ranked:
    score_P2 = np.array(scores, dtype=np.float64)
    longer = [max(len(response.ids) for response in example.responses) for _, example in pairs]
    # pairs of one prompt are alike; so are, where there is no prompt, those of one chosen text
    units = [row.prompt or row.chosen for row, _ in pairs]
    return Ranked(score_P2[:, 0], score_P2[:, 1], np.array(longer), units, seed=seed)


def _baseline(pairs: Pairs, texts: Texts, rows: Comparisons, ranked: Ranked) -> dict[str, Any]:
    if rows.texts:
        words = [row.text for row in rows.texts]
        score = baseline.fit_ratings(words, ratings_of(rows.texts, rows.rating))
    else:
        chosen = [shown(pair.chosen) for pair in rows.pairs]
        score = baseline.fit_pairs(chosen, [shown(pair.rejected) for pair in rows.pairs])
    chosen_P = score([shown(row.chosen) for row, _ in pairs])
    rejected_P = score([shown(row.rejected) for row, _ in pairs])
    both = list(zip(chosen_P, rejected_P, strict=True))
    figures = {"name": baseline.NAME, **beside(ranked, _ranked(pairs, both, ranked.seed))}
    if texts:
        held = [row for row, _ in texts]
        theirs = np.array(score([row.text for row in held]))
        figures["rating_correlation"] = agreement(theirs, np.array(ratings_of(held, rows.rating)))
    return figures
