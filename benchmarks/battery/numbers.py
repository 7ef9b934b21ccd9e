"""Rows 8 to 11: numbers that are none, sums in any order, the peers' logits, a roll-out's."""

from pathlib import Path

from battery import finite, invariance, parity, sampled
from battery.row import Outcome, Row, Size
from battery.suite import through_tests

NEAR_GRADIENT, NEAR_LOGIT, NEAR_RATIO = 1e-6, 1e-5, 0.01
PROMPTS = 12
SPIKES = (
    "tests/train/test_spikes.py::test_a_run_killed_at_the_spike_ends_in_the_same_bytes",
    "tests/train/test_spikes.py::test_two_ranks_leave_out_the_same_step",
    "tests/train/test_spikes.py::test_the_weights_are_those_of_a_run_without_the_odd_step",
)
SPLIT = (
    "tests/train/test_routing.py",
    "tests/train/test_splitting.py",
    "tests/train/test_loop.py::test_accumulation_changes_nothing",
)


def non_finite(folder: Path, size: Size) -> Outcome:
    """Every kind of stage, alone and as one of two ranks; spikes beside it."""
    found = finite.alone(folder / "alone", finite.TRAINED)
    found |= finite.together(folder / "together", finite.RANKED)
    bad = {case: faults for case, faults in found.items() if faults}
    spikes = through_tests(*SPIKES)
    return Outcome(
        not bad and spikes.passed,
        f"{len(found) - len(bad)} of {len(found)} runs (7 kinds of stages, NaN and Inf in loss, "
        "gradient or what is measured before a step, on one rank or one of two): step skipped, "
        f"rows named, given up after 5, nothing of it saved; spikes: {spikes.figure}",
        {"faults": bad, "runs": list(found), "spikes": spikes.details},
    )


def same_gradients(folder: Path, size: Size) -> Outcome:
    """The first gradient of every objective, split, packed, ordered and shared in all ways."""
    found = invariance.differences(folder, invariance.CASES, ranks=2)
    apart = {
        f"{case}, {split}": value
        for case, splits in found.items()
        for split, value in splits.items()
        if split != "largest gradient"
    }
    bad = {name: value for name, value in apart.items() if not value <= NEAR_GRADIENT}
    tests = through_tests(*SPLIT)
    return Outcome(
        not bad and tests.passed,
        f"{len(apart) - len(bad)} of {len(apart)} gradients within 1e-6, the largest difference "
        f"{max(apart.values()):.1e} ({len(invariance.CASES)} objectives); {tests.figure}",
        {"differences": found, "too far": bad, "tests": tests.details},
    )


def same_logits(folder: Path, size: Size) -> Outcome:
    """Every variant of every family."""
    return _logits(parity.largest(folder, tuple(parity.variants())))


def _logits(found: dict[str, dict[str, float]]) -> Outcome:
    worst = {name: max(kinds.values()) for name, kinds in found.items()}
    bad = {name: value for name, value in worst.items() if not value <= NEAR_LOGIT}
    return Outcome(
        not bad,
        f"{len(worst) - len(bad)} of {len(worst)} variants within 1e-5 in fp32, the largest "
        f"difference {max(worst.values()):.1e} (read, cached, saved and loaded again)",
        {"differences": found, "too far": bad},
    )


def same_logps(folder: Path, size: Size) -> Outcome:
    """Roll-outs in fp32, which have to agree, and in bf16, of which it is told how far they do."""
    import torch

    exact = sampled.everything(torch.float32, PROMPTS)
    half = sampled.everything(torch.bfloat16, PROMPTS)
    bad = {name: found for name, found in exact.items() if not agrees(found)}
    off = {name: found for name, found in half.items() if abs(found["ratio"] - 1) > NEAR_RATIO}
    return Outcome(
        not bad and not off,
        f"fp32: {_told(exact)}; bf16: {_told(half)}",
        {"fp32": exact, "bf16": half, "too far": [*bad, *off]},
    )


def agrees(found: dict[str, float]) -> bool:
    """Whether a roll-out in float32 is what the update would have drawn."""
    near = found["apart"] <= NEAR_LOGIT and abs(found["ratio"] - 1) <= NEAR_RATIO
    return near and found["tokens"] > 0 and found["outside"] == 0


def _told(found: dict[str, dict[str, float]]) -> str:
    tokens = round(sum(each["tokens"] for each in found.values()))
    off = max(abs(each["ratio"] - 1) for each in found.values())
    outside = round(sum(each["outside"] for each in found.values()))
    apart = max(each["apart"] for each in found.values())
    return (
        f"{tokens} tokens, at most {apart:.1e} nats apart, mean ratio within 1 ± {off:.1e}, "
        f"{outside} drawn outside the support"
    )


ROWS: tuple[Row, ...] = (
    Row(
        "non-finite",
        "NaN or Inf in loss, gradient or what a step measures beforehand, on one rank",
        "all ranks skip the step, weights unchanged, row ids logged, abort after 5 in a row, "
        "nothing of it is ever saved",
        non_finite,
    ),
    Row(
        "invariance",
        "accumulation 1×8, 2×4, 8×1; 1 or 2 ranks; padding or packing; order of the rows",
        "gradients within 1e-6",
        same_gradients,
    ),
    Row(
        "parity",
        "logits against transformers for every family",
        "≤ 1e-5 in fp32, also through save and load and with the cache",
        same_logits,
    ),
    Row(
        "logps",
        "roll-out against training log-probabilities",
        "≤ 1e-5 in fp32; same temperature and support; mean ratio 1 ± .01 at zero lag",
        same_logps,
    ),
)
