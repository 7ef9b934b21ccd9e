"""Numbers as they are shown."""

import pytest

from accord.report.numbers import FORMS, Numbers, pointer


@pytest.mark.parametrize(
    ("form", "value", "digits", "shown"),
    [
        ("number", 0.5784, 3, "0.578"),
        ("number", -1234.56, 1, "−1,234.6"),
        ("signed", 0.35, 2, "+0.35"),
        ("signed", -0.35, 2, "−0.35"),
        ("signed", 0.0, 2, "0.00"),
        ("share", 0.8914, 3, "89.1\u00a0%"),
        ("share", -0.009, 3, "−0.9\u00a0%"),
        ("gain", 0.006, 3, "+0.6\u00a0%"),
        ("count", 10605, 3, "10,605"),
        ("seconds", 9.06, 3, "9.1 s"),
        ("seconds", 231.4, 3, "3 min 51 s"),
        ("seconds", 3600 * 2 + 61, 3, "2 h 01 min"),
        ("gibibytes", 8 * 2**30, 3, "8.0\u00a0GiB"),
    ],
)
def test_forms(form, value, digits, shown):
    assert FORMS[form](value, digits) == shown


def test_pointers_escape_what_stands_in_metric_names():
    assert pointer(("curves", "dpo", "rewards/chosen", 3, "a~b")) == (
        "/curves/dpo/rewards~1chosen/3/a~0b"
    )


def test_a_number_says_where_it_stands_and_a_missing_one_is_a_dash():
    num = Numbers({"a": {"b": [1.5, None]}, "histograms": {}})
    assert num("a", "b", 0, digits=1) == '<data value="1.5" data-at="/a/b/0">1.5</data>'
    assert "–" in num("a", "b", 1) and "–" in num("a", "c") and "–" in num("x", "y")


def test_names_are_escaped():
    num = Numbers({'"><script>': 1.0})
    assert "<script>" not in num('"><script>')
