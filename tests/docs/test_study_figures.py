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


PLACES = re.compile(r'\s(?:d|x|y|x1|y1|cx|cy|r|width|height|points)="([^"]*)"')
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def test_places_are_given_to_a_tenth_and_are_where_they_were(document):
    drawing = max(SCRIPT["drawings"](document), key=lambda drawing: len(drawing.svg))
    # the size in the first line and the paper are the file's own
    written = SCRIPT["standalone"](drawing.svg).split("fill=", 1)[1]
    here = [n for found in PLACES.findall(written) for n in NUMBER.findall(found)]
    there = [n for found in PLACES.findall(drawing.svg) for n in NUMBER.findall(found)]
    assert len(here) == len(there) > 100
    assert all(len(number.partition(".")[2]) <= 1 for number in here)
    assert max(abs(float(a) - float(b)) for a, b in zip(here, there, strict=True)) < 0.0501
    assert len(written) < len(drawing.svg)


def test_names_colours_and_words_keep_their_digits():
    svg = '<svg viewBox="0 0 10.25 5" a="1.234"><path id="d1.234" d="M 1.96 -0.04"/><text x="2.55"'
    written = SCRIPT["standalone"](svg + ' style="width: 1.25px">p = 0.0425</text></svg>')
    for kept in ('id="d1.234"', 'a="1.234"', "p = 0.0425", "width: 1.25px", "26.25"):
        assert kept in written
    assert 'd="M 2 -0"' in written and re.search('x="2.[56]"', written)


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
