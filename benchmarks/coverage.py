"""How often a study's 95 % intervals hold the truth: simulated studies whose true mean is 0.

Prints the table of docs/statistics.md; about a minute on one core.

    python benchmarks/coverage.py
"""

import numpy as np

from accord.evaluation.study.crossed import crossed

STUDIES, RESAMPLES = 1000, 1000
DESIGNS = (
    ("mostly seeds", (1.0, 0.2, 0.2), ((3, 40), (5, 40), (10, 40))),
    ("all", (0.3, 1.0, 1.0), ((3, 40), (5, 40), (10, 40), (3, 16), (5, 16))),
    ("seeds not at all", (0.0, 1.0, 1.0), ((3, 40), (5, 40), (10, 40))),
    ("prompts only, one seed", (0.0, 1.0, 1.0), ((1, 40), (1, 16))),
    ("mostly prompts", (0.1, 1.0, 0.2), ((5, 16), (5, 40))),
)
"""Name; standard deviation of seed, prompt and rest; seeds and prompts."""


def simulated(shape, spread, rng):
    """Normal effects of seeds, of prompts, and of both together, [seeds, prompts]."""
    seeds, prompts = shape
    sizes = ((seeds, 1), (1, prompts), shape)
    return sum(rng.normal(0, s, size) for s, size in zip(spread, sizes, strict=True))


def redrawn(values_SP, rng):
    """The plain pigeonhole bootstrap: low, high and two-sided p-value."""
    seeds, prompts = values_SP.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    columns = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES) / prompts
    replicates = np.einsum("bs,sp,bp->b", rows, values_SP, columns, optimize=True)
    tail = min((replicates <= 0).sum(), (replicates >= 0).sum())
    return *np.quantile(replicates, [0.025, 0.975]), (1 + 2 * tail) / (1 + RESAMPLES)


def measure(shape, spread):
    """Shares of studies: interval holds 0, p ≤ .01; then both for plain redrawing."""
    rng = np.random.default_rng(7)
    hits = np.zeros(4)
    for index in range(STUDIES):
        values = simulated(shape, spread, rng)
        got = crossed(values, RESAMPLES, seed=index)
        low, high, p = redrawn(values, rng)
        held = got.interval.low <= 0 <= got.interval.high
        hits += held, got.p <= 0.01, low <= 0 <= high, p <= 0.01
    return hits / STUDIES


def main():
    columns = ("what varies", "seeds", "prompts", "holds", "p ≤ .01", "plain: holds", "p ≤ .01")
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|")
    for name, spread, shapes in DESIGNS:
        for shape in shapes:
            shares = " | ".join(f"{100 * share:.1f} %" for share in measure(shape, spread))
            effects = ", ".join(f"{s:g}" for s in spread)
            print(f"| {name} ({effects}) | {shape[0]} | {shape[1]} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
