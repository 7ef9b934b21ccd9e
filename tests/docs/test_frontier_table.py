"""The frontier's tables say what the study's document says."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "frontier_table.py"


@pytest.fixture(scope="module")
def script():
    found = importlib.util.spec_from_file_location("frontier_table", SCRIPT)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def value(mean: float, low: float, high: float) -> dict[str, object]:
    return {"mean": mean, "ci95": [low, high]}


DOCUMENT = {
    "references": {"tight": "sft"},
    "frontier": {
        "sft": [{"variants": ["tight"], "kl": value(0, 0, 0), "scores": {"vader": value(0, 0, 0)}}],
        "dpo": [
            {
                "variants": ["tight"],
                "kl": value(1.5, 1.25, 2.0),
                "scores": {"vader": value(0.5, -0.125, 1.0)},
            }
        ],
        "best of 2": [
            {
                "variants": ["tight", "loose"],
                "kl": value(0.19, 0.19, 0.19),
                "scores": {"vader": value(0.3, 0.2, 0.4)},
            }
        ],
    },
    "matched": {
        "kl": [0.1, 1.0],
        "scores": {
            "vader": {
                "dpo": [value(0.1, 0.0, 0.2), value(0.4, 0.3, 0.5)],
                "best of n": [value(0.2, 0.1, 0.3), None],
            }
        },
        "differences": {
            "vader": [{"methods": ["dpo", "best of n"], "at": [value(-0.1, -0.2, 0.0), None]}]
        },
    },
}


def test_every_point_and_every_kl_has_its_row(script):
    lines = list(script.tables(DOCUMENT, "vader"))
    assert "| dpo | tight | 1.50 [1.25, 2.00] | 0.50 [−0.12, 1.00] |" in lines
    assert "| best of 2 | tight, loose | 0.19 | 0.30 [0.20, 0.40] |" in lines
    assert not any(line.startswith("| sft |") for line in lines)
    assert "| method | 0.1 | 1 |" in lines
    assert "| best of n | 0.20 [0.10, 0.30] | – |" in lines
    assert "| dpo − best of n | −0.10 [−0.20, 0.00] | – |" in lines


def test_a_study_of_few_variants_has_its_points_alone(script):
    lines = list(script.tables({**DOCUMENT, "matched": {}}, "vader"))
    assert len([line for line in lines if line.startswith("| dpo |")]) == 1
    assert not any("same KL" in line for line in lines)
