"""Where a measure becomes a sentence of the verdict."""

COIN = 0.5
"""Accuracy of a coin."""
USEFUL = 0.65
"""Accuracy below which single comparisons are not relied on; people who judge such pairs agree with
each other on some 73 % of them (arXiv 2203.02155, section 3.4)."""
FEW_PROMPTS = 100
"""Prompts below which the interval of a share is about ± .1 wide or more."""
PART_ROWS = 30
"""Pairs of a source or language below which it is not spoken of."""
WITHIN = 0.3
"""Part correlation with length or repetition that is a bias, its interval above it."""
RARER = 0.1
"""Share of the pairs whose better answer is the shorter (or longer) below which length and quality
cannot be told apart."""
BLIND = 0.6
"""Share of spoilt answers that score lower: an interval below it is a judge that does not see it,
for chance alone gives a half."""
NOTICED = 0.8
"""The same: an interval above it is a judge that does."""
FLIPPED = 0.05
"""Share of pairs whose order white space may turn round."""
CALIBRATED = 0.1
"""Distance of σ(difference) from a probability."""
TRUE = 0.8
"""Accuracy against the truth of a judge that may stand for it."""
TRUE_RATING = 0.7
"""Correlation with a true rating of the same."""
SHORT_ANSWERS = 0.5
"""Share of right short answers above nonsense: an interval below it is a judge of fluency."""
