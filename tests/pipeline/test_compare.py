"""What names a run, and what is refused."""

import json
from pathlib import Path

import pytest

import accord
from accord.errors import AccordError
from accord.pipeline.compare import compare


def stage(folder: Path, name: str, kind: str = "preference", **settings: object) -> Path:
    """A finished stage's folder."""
    record = {
        "name": name,
        "kind": kind,
        "config": {"kind": kind, **settings},
        "inputs": {},
        "data": {"x.jsonl": "12" * 32},
        "seed": 3,
        "fingerprint": f"{name}{sorted(settings.items())}",
        "seconds": 1.5,
    }
    (folder / "accord").mkdir(parents=True)
    (folder / "accord" / "stage.json").write_text(json.dumps(record))
    log = {"step": 1, "loss": 0.5, "tokens_per_second": 10.0}
    (folder / "accord" / "metrics.jsonl").write_text(json.dumps(log) + "\n")
    return folder


def run(folder: Path, **settings: object) -> Path:
    """A run's folder with one stage and a report."""
    from accord.evaluation.document import assemble

    made = stage(folder / "dpo", "dpo", **settings)
    (folder / "report.json").write_text(json.dumps(assemble({"dpo": made}, "a run")))
    return folder


def test_runs_reports_and_stages_are_compared_with_each_other(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one", beta=0.1), run(tmp_path / "other", beta=0.3)
    ways = {
        name: compare(a, b)["settings"]
        for name, a, b in (
            ("folders", one, other),
            ("reports", one / "report.json", other / "report.json"),
            ("stages", one / "dpo", other / "dpo"),
            ("a stage and a run", one / "dpo", str(other)),
        )
    }
    assert {(r["key"], r["a"], r["b"]) for rows in ways.values() for r in rows} == {
        ("beta", 0.1, 0.3)
    }
    assert all(len(rows) == 1 for rows in ways.values()), ways


def test_other_content_of_the_same_file_is_seen_while_the_stages_lie_beside(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    path = other / "dpo" / "accord" / "stage.json"
    record = json.loads(path.read_text())
    record["data"]["x.jsonl"] = "34" * 32
    path.write_text(json.dumps(record))
    (row,) = compare(one, other)["settings"]
    assert (row["key"], row["reaches"]) == ("files.x.jsonl", ["training"])
    path.write_text(json.dumps(record | {"fingerprint": "of a later run"}))
    assert compare(one, other)["settings"] == []  # what lies there now is not what was reported


def test_a_cell_of_a_study(tmp_path: Path) -> None:
    cells = []
    for variant, beta in (("plain", 0.1), ("held", 1.0)):
        stage(tmp_path / "stages" / f"dpo-{variant}", "dpo", beta=beta)
        folders = {"dpo": f"stages/dpo-{variant}"}
        cells.append({"variant": variant, "seed": 1, "stages": folders})
    (tmp_path / "study.json").write_text(json.dumps({"cells": cells}))
    found = compare(f"{tmp_path}#plain/1", f"{tmp_path}#held/1")
    assert [(row["a"], row["b"]) for row in found["settings"]] == [(0.1, 1.0)]
    with pytest.raises(AccordError, match=r"did you mean 'plain/1'"):
        compare(f"{tmp_path}#plain/2", f"{tmp_path}#held/1")
    with pytest.raises(AccordError, match=r"a study holds many runs(.|\n)*#plain/1"):
        compare(tmp_path, tmp_path)


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    good = run(tmp_path / "good")
    with pytest.raises(AccordError, match=r"no such run(.|\n)*did you mean .*good"):
        compare(good, tmp_path / "goood")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AccordError, match="neither a report nor a finished stage"):
        compare(tmp_path / "empty", good)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(AccordError, match=r"not a run's report\.json"):
        compare(good, tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(AccordError, match="not readable as JSON"):
        compare(good, tmp_path / "x.json")


def test_paths_of_a_single_evaluation_go_by_their_last_part(tmp_path: Path) -> None:
    """Two `accord evaluate` of folders in different places have the same policies."""
    sides = []
    for home in ("x", "y"):
        names = [f"{home}/sft", f"{home}/dpo"]
        score = {"scores": {"length": {"mean": 1.0, "ci95": [0.0, 2.0], "n": 1}}}
        answers = {n: {"completion": "a", "ended": True, "scores": {"length": 1.0}} for n in names}
        document = {
            "title": home,
            "stages": {"evaluate": {"kind": "evaluate", "config": {"reference": names[0]}}},
            "policies": {n: {**score, "kl": {"mean": 0.0}, "statistics": {}} for n in names},
            "protocol": {"reference": names[0], "policies": names, "scorers": ["length"]},
            "samples": [{"id": "1", "prompt": "p", "continues": False, "policies": answers}],
            "findings": [],
        }
        (tmp_path / f"{home}.json").write_text(json.dumps(document))
        sides.append(tmp_path / f"{home}.json")
    found = compare(*sides)
    assert found["protocol"] == []
    assert [row["policy"] for row in found["means"]] == ["sft", "dpo"]


def test_the_python_function_writes_both_files(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one", beta=0.1), run(tmp_path / "other", beta=0.3)
    found = accord.compare(one, other, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == found
    assert "dpo.beta" in (tmp_path / "out" / "compare.html").read_text()
