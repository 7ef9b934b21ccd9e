"""The length bias and its interval, by hand and by law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.check.bias import findings, interval, length_bias


def test_wilsons_interval_of_eight_in_ten() -> None:
    """(8 + z²/2) / (10 + z²) ± z / (10 + z²) · √(8 · 2 / 10 + z²/4), z² = 3.841459."""
    values = np.array([1.0] * 8 + [0.0] * 2)
    z2 = 3.841459
    middle = (8 + z2 / 2) / (10 + z2)
    half = z2**0.5 / (10 + z2) * (1.6 + z2 / 4) ** 0.5
    assert interval(values, np.arange(10)) == pytest.approx((middle - half, middle + half))


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(2, 5))
@settings(deadline=None, max_examples=50)
def test_copies_within_a_prompt_tell_nothing_more(values: list[bool], copies: int) -> None:
    once = np.array(values, dtype=float)
    alone = interval(once, np.arange(len(once)))
    repeated = interval(np.repeat(once, copies), np.repeat(np.arange(len(once)), copies))
    assert repeated == pytest.approx(alone, abs=1e-9)
    assert 0 <= alone[0] <= once.mean() + 1e-12
    assert once.mean() - 1e-12 <= alone[1] <= 1


def test_by_hand() -> None:
    bias = length_bias([5, 6, 7, 1], [1, 2, 7, 3], list("abcd"), "tokens")
    assert (bias.longer, bias.equal, bias.pairs) == (2, 1, 4)
    assert (bias.share, bias.rule, bias.accuracy) == (0.5, "longer", 0.625)
    assert (bias.chosen_mean, bias.rejected_mean) == (4.75, 3.25)
    assert findings(bias) == []


@pytest.mark.parametrize(
    ("right", "severity"), [(500, None), (560, "note"), (640, "warning"), (360, "warning")]
)
def test_how_grave_it_is(right: int, severity: str | None) -> None:
    chosen = [9] * right + [1] * (1000 - right)
    bias = length_bias(chosen, [5] * 1000, range(1000), "tokens")
    found = [finding.severity for finding in findings(bias)]
    assert found == ([severity] if severity else [])
    assert bias.rule == ("longer" if right >= 500 else "shorter")
    if severity == "warning":
        assert f"'Always the {bias.rule}' is right for 64.0 %" in findings(bias)[0].says


def test_few_pairs_prove_nothing() -> None:
    assert findings(length_bias([9, 9, 9], [1, 1, 10], "abc", "tokens")) == []
