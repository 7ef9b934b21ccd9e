"""The page of two runs: every number is in the document, at the place it names."""

import copy
import json
import re
from functools import reduce

import pytest
from markupsafe import escape

from accord.evaluation.compare.document import compare_document
from accord.evaluation.compare.side import Side
from accord.report.compare import digits, render, write
from accord.report.numbers import FORMS


@pytest.fixture(scope="module")
def found(document) -> dict:
    """The invented run beside itself with another margin, another seed and another log."""
    other = copy.deepcopy(document)
    other["recipe"] = {**other["recipe"], "seed": 2}
    stage = other["stages"]["dpo"]
    stage["config"]["beta"] = 0.5
    stage["fingerprint"] = "another"
    for sample in other["samples"]:
        sample["policies"]["dpo"]["scores"]["vader"] += 0.25
    other["findings"] = other["findings"][1:]
    other["environment"]["machine"] = "<b>another</b>"
    other["rows"]["dpo"] = {}
    return compare_document(Side("runs/a", document), Side("runs/b", other), resamples=200)


def at(document: dict, pointer: str):
    keys = [k.replace("~1", "/").replace("~0", "~") for k in pointer.split("/")[1:]]
    return reduce(lambda v, k: v[int(k)] if isinstance(v, list) else v[k], keys, document)


def test_every_number_stands_in_the_document(found) -> None:
    page = render(found)
    shown = re.findall(r'<data value="([^"]+)" data-at="([^"]+)">([^<]+)</data>', page)
    assert len(shown) > 50
    for value, pointer, text in shown:
        assert repr(at(found, pointer)) == value, pointer
        forms = {form(at(found, pointer), places) for form in FORMS.values() for places in range(5)}
        assert text.replace("&nbsp;", "\u00a0") in forms


def test_the_page_is_whole_and_offline(found) -> None:
    page = render(found)
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)
    assert "<script" not in page
    assert "&lt;b&gt;another&lt;/b&gt;" in page
    for part in ("dpo.beta", "figure-difference-vader", "figure-dpo-loss", "the same model"):
        assert part in page
    for sentence in found["said"]:
        assert str(escape(sentence)) in page


def test_the_files_stand_beside_each_other(found, tmp_path) -> None:
    page = write(found, tmp_path / "new")
    assert page.name == "compare.html"
    assert json.loads((tmp_path / "new" / "compare.json").read_text()) == json.loads(
        json.dumps(found)
    )
    assert render(found) == page.read_text()  # the same bytes each time


def test_runs_of_nothing_in_common_have_a_page() -> None:
    empty = {"title": "", "stages": {}, "policies": {}, "findings": []}
    page = render(compare_document(Side("a", empty), Side("b", empty)))
    assert "No setting differs." in page


def test_digits_show_four_figures() -> None:
    assert [digits(v) for v in (0.0, -9.99, 12.3, 123.4, 12345.6, None)] == [3, 3, 2, 1, 0, 3]
