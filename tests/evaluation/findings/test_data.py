"""Overfitting, and rows that were lost."""

from planted import document, named

from accord.evaluation.findings import findings


def test_overfitting():
    doc = document()
    doc["curves"]["sft"] = {"eval_loss": [[10, 2.0], [20, 1.5], [30, 1.52]]}
    assert "overfitting" not in named(findings(doc))
    doc["curves"]["sft"]["eval_loss"].append([40, 1.6])
    finding = named(findings(doc))["overfitting"]
    assert finding["evidence"]["step"] == 20 and "step 20" in finding["sentence"]


def test_rows_lost_by_accident_but_not_by_intent():
    doc = document()
    counts = {"kept": 80, "dropped": {"held out": 900, "shorter than 5 words": 50}}
    doc["rows"] = {"sft": {"reviews": {**counts, "truncated": {}}}}
    assert {f["severity"] for f in findings(doc)} == {"info"}
    counts["dropped"]["bad row"] = 20
    assert named(findings(doc))["rows_dropped"]["severity"] == "warning"
    doc["rows"]["sft"]["reviews"] = {"kept": 100, "dropped": {}, "truncated": {"too long": 11}}
    assert "11%" in named(findings(doc))["rows_truncated"]["sentence"]
