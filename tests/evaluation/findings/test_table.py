"""The table of checks as a whole."""

import copy
import json

import pytest
from planted import comparison, document, policy_stage

from accord.evaluation.findings import CHECKS, findings


def test_the_gravest_come_first():
    found = findings(document(unique=0.2, ended=0.5))
    order = [f["severity"] for f in found]
    assert order == sorted(order, key=["problem", "warning", "info"].index)
    assert order[0] == "problem"


def whole() -> dict:
    """A document with something in it for every check."""
    doc = document()
    doc["comparisons"] = [comparison("fluency", -0.1, -0.2, 0.1)]
    for kind in ("ppo", "grpo", "online"):
        stage = policy_stage(kind)
        doc["stages"] |= stage["stages"]
        doc["curves"] |= stage["curves"]
    doc["stages"]["rm"] = {"kind": "reward", "config": {}}
    doc["heldout"] = {"rm": {"accuracy": 0.8, "ci95": [0.7, 0.9], "ece": 0.01}}
    return doc


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_fails_on_an_empty_document_or_changes_one(check):
    assert list(check({})) == []
    doc = whole()
    before = copy.deepcopy(doc)
    list(check(doc))
    assert doc == before


def test_findings_are_plain_json():
    found = findings(whole())
    assert len(found) >= 10
    assert json.loads(json.dumps(found, allow_nan=False)) == found
