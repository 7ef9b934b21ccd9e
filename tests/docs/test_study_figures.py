"""The script that puts a study into these docs: true numbers, figures that stand alone."""

import json
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "study_figures.py"))
sys.path.insert(0, str(ROOT / "tests" / "report"))


@pytest.fixture(scope="module")
def document() -> dict:
    from invented_study import invented_study

    return invented_study()


@pytest.fixture(scope="module")
def written(document, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("study")
    (home / "study_report.json").write_text(json.dumps(document))
    (home / "page.md").write_text("Before.\n<!-- study: can -->\nold\n<!-- end study -->\nAfter.\n")
    SCRIPT["main"](home, home / "img", [home / "page.md"])
    return home


def test_every_figure_is_a_file_that_stands_alone(written):
    figures = sorted((written / "img").glob("*.svg"))
    assert len(figures) == 12
    for figure in figures:
        text = figure.read_text()
        root = ET.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text
        assert float(root.get("width")) > 300 and not re.search(r"#00000\d", text)


def test_every_figure_is_named_in_the_tables(written):
    named = set(re.findall(r"\]\(\./([^)]+)\)", (written / "img" / "tables.md").read_text()))
    assert named == {figure.name for figure in (written / "img").glob("*.svg")}


def test_tables_have_every_claim_and_average(document):
    found = SCRIPT["parts"](document, [], "img")
    rows = [
        line
        for part in ("claims", "against-reference")
        for line in found[part].splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| comparison"))
    ]
    assert len(rows) == len(document["claims"])
    assert sum("told apart" in row for row in rows) == sum(
        claim["distinguishable"] for claim in document["claims"]
    )
    assert sum("†" in row for row in rows) == sum(c["unadjusted"] for c in document["claims"])
    average = document["averages"]["phase 1"]["dpo"]["learned"]
    [row] = [r for r in found["averages"].splitlines() if r.startswith("| phase 1 | dpo |")]
    assert f"{average['mean']:.2f} [{average['ci95'][0]:.2f}, {average['ci95'][1]:.2f}]" in row


def test_a_page_keeps_its_own_words(written, document):
    page = (written / "page.md").read_text()
    assert page.startswith("Before.\n<!-- study: can -->\n") and page.endswith(
        "study -->\nAfter.\n"
    )
    assert "old" not in page
    assert all(f"- {sentence}" in page for sentence in document["factors"]["can"])


def test_filling_twice_changes_nothing_and_unknown_parts_are_refused():
    once = SCRIPT["filled"]("<!-- study: a -->\n<!-- end study -->", {"a": "x"})
    assert SCRIPT["filled"](once, {"a": "x"}) == once and "\nx\n" in once
    with pytest.raises(KeyError):
        SCRIPT["filled"]("<!-- study: b -->\n<!-- end study -->", {"a": "x"})
