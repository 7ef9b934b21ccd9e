"""Holm's step-down correction of the p-values of a family of comparisons."""

from collections.abc import Sequence

LEVEL = 0.05
"""Chance of one false claim or more in a family."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: claimed at a level where the adjusted one is below it.

    Holds the chance of any false claim in the family to the level, however comparisons depend on
    one another.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    count = len(p_values)
    adjusted = [0.0] * count
    largest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
