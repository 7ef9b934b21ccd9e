"""Planted runs: a healthy one is left in peace, faults are told, and the table adds up."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def part(name: str) -> Any:
    return importlib.import_module(f"diagnosis.{name}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


def planted(name: str, home: Path, world: str = "reviews") -> Any:
    cells = part("run").cells()
    founded = part("cell").prepared(world, 1, home)
    return part("cell").made(cells[name], 1, founded, home / "run")


def test_a_healthy_run_has_no_finding(home: Path) -> None:
    outcome = planted("healthy sft", home)
    assert not outcome.found and not outcome.ended, outcome
    assert outcome.steps == 60 and outcome.truth["skipped"] == 0


def test_a_wrong_reference_is_told_at_the_first_step(home: Path) -> None:
    outcome = planted("wrong reference: dpo, in training mode", home)
    assert outcome.live.get("wrong_reference") == 1, outcome


def test_a_corrupted_batch_is_told_soon_after_it(home: Path) -> None:
    outcome = planted("loss spike: dpo, one corrupted batch", home)
    assert 30 <= outcome.live["loss_spikes"] <= 45, outcome
    assert not outcome.ended


def test_every_fault_means_findings_that_exist() -> None:
    source = "".join(
        path.read_text()
        for path in (ROOT / "src" / "accord" / "evaluation" / "findings").glob("*.py")
    ).replace('f"rows_{what}"', '"rows_dropped" "rows_truncated"')
    for name, cell in part("faults").FAULTS.items():
        assert cell.expected and cell.name == name
        assert all(f'"{finding}"' in source for finding in cell.expected), name


@pytest.mark.parametrize(
    ("hits", "runs", "low", "high"), [(6, 6, 0.610, 1.0), (0, 72, 0.0, 0.0507), (0, 0, 0.0, 1.0)]
)
def test_intervals_are_wilsons(hits: int, runs: int, low: float, high: float) -> None:
    assert part("table").interval(hits, runs) == pytest.approx((low, high), abs=1e-3)


def outcome_of(live: dict[str, int], report: list[str], **truth: float) -> dict[str, Any]:
    return {"live": live, "report": report, "truth": truth, "ended": "", "steps": 60}


def test_the_table_counts_recall_delay_and_false_alarms() -> None:
    fault = [outcome_of({"loss_spikes": 36}, ["loss_spikes", "overfitting"]), outcome_of({}, [])]
    healthy = [
        outcome_of({}, ["rambling"], ended=1.0),
        outcome_of({}, ["rambling"], ended=0.5),  # outside the bounds: no healthy run
        outcome_of({}, [], ended=1.0),
    ]
    result = {
        "measured": {
            "date": "2026-01-01",
            "minutes": 1.0,
            "workers": 2,
            "environment": {"machine": "m"},
            "revision": "r",
        },
        "runs": {
            "spike": {"expected": ["loss_spikes"], "onset": 30, "outcomes": fault},
            "healthy x": {"expected": [], "onset": 1, "outcomes": healthy},
        },
    }
    page = "\n".join(part("table").page(result))
    assert "| spike | 1/2 | 0.09 to 0.91 | `loss_spikes` | 6 of 60 | overfitting 1 |" in page
    assert "Below the aim: spike." in page
    assert "| healthy x | 3 | 1 (ended 1) | 1 | rambling 1 |" in page
    assert "1 false alarms in 2 healthy runs = 0.500 a run" in page


def test_the_page_is_that_of_the_results() -> None:
    path = ROOT / "benchmarks" / "results" / "diagnosis.json"
    page = (ROOT / "docs" / "diagnosis.md").read_text()
    assert part("table").inserted(page, json.loads(path.read_text())) == page


@pytest.mark.slow
def test_the_quick_benchmark_finds_what_it_plants(tmp_path: Path) -> None:
    result = tmp_path / "diagnosis.json"
    given = ["--quick", "--json", str(result), "--page", str(tmp_path / "none.md")]
    assert part("run").main(given) == 0
    for run in json.loads(result.read_text())["runs"].values():
        (outcome,) = run["outcomes"]
        said = {*outcome["live"], *outcome["report"]}
        assert bool(said & set(run["expected"])) == bool(run["expected"])
