"""What the figures share."""

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.report.drawing import Line, Panel, canvas, label_ends, running_mean, stacked
from accord.report.svg import SERIES, style


def test_a_running_mean_by_hand():
    assert running_mean([1.0, 2.0, 6.0], 1) == [1.5, 3.0, 4.0]
    assert running_mean([1.0, 2.0, 6.0], 0) == [1.0, 2.0, 6.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.integers(0, 6))
def test_a_running_mean_stays_within_its_values(values, reach):
    smooth = running_mean(values, reach)
    assert len(smooth) == len(values)
    low, high = min(values) - 1e-9, max(values) + 1e-9
    assert all(low <= value <= high for value in smooth)


def test_names_at_line_ends_keep_their_distance_and_order():
    with mpl.rc_context(style()):
        _, axes = canvas()
        axes.set_ylim(0, 1)
        label_ends(axes, [(0.50, "b", SERIES[1]), (0.49, "a", SERIES[2]), (0.9, "c", SERIES[3])])
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert heights["a"] < heights["b"] < heights["c"]
    assert heights["b"] - heights["a"] == pytest.approx(0.085)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_panels_take_a_line_of_any_length(count):
    points = [[step, float(step % 3)] for step in range(1, count + 1)]
    with mpl.rc_context(style()):
        drawn = stacked("n", "t", "c", [Panel("p", [Line("", points, SERIES[1])])], None)
    assert drawn.svg.startswith("<svg")
