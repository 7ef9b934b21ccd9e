"""Figures: inline, offline, in the page's colours, the same bytes every time."""

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from accord.report.curves import training_figures
from accord.report.figures import frontier_figures, score_figures
from accord.report.svg import VARIABLES


@pytest.fixture(scope="module")
def drawings(document):
    return [*score_figures(document), *frontier_figures(document), *training_figures(document)]


def test_what_is_drawn(drawings):
    assert [d.name for d in drawings] == [
        *("mean-vader", "mean-fluency", "mean-length"),
        *("spread-vader", "spread-fluency", "spread-length"),
        "frontier",
        *("base-loss", "sft-loss", "dpo-loss"),
        *("dpo-margins", "dpo-accuracies", "dpo-rewards", "dpo-logps"),
    ]


def test_every_figure_is_a_well_formed_svg_without_addresses(drawings):
    for drawing in drawings:
        root = ET.fromstring(drawing.svg)
        assert root.tag == "svg" and root.get("aria-label") == drawing.title
        assert not re.search(r"https?:|xmlns|<metadata|<!DOCTYPE", drawing.svg)


def test_colours_come_from_the_page_only(drawings):
    for drawing in drawings:
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", drawing.svg)) == set(), drawing.name
        used = set(re.findall(r"var\((--[a-z0-9-]+)\)", drawing.svg))
        assert {"--muted", "--line"} <= used <= set(VARIABLES.values())


def test_ids_are_unique_on_the_page(drawings):
    ids = [i for d in drawings for i in re.findall(r'\bid="([^"]+)"', d.svg)]
    assert len(ids) == len(set(ids))
    for drawing in drawings:
        here = set(re.findall(r'\bid="([^"]+)"', drawing.svg))
        named = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', drawing.svg)
        assert {a or b for a, b in named} <= here


def test_the_same_document_gives_the_same_bytes(document, drawings):
    assert [d.svg for d in score_figures(document)] == [d.svg for d in drawings[:6]]


def test_matplotlib_is_left_as_it_was(document):
    before = dict(mpl.rcParams)
    frontier_figures(document)
    assert dict(mpl.rcParams) == before


def test_means_are_labelled_with_the_tables_digits(document, drawings):
    mean = document["policies"]["dpo"]["scores"]["vader"]["mean"]
    assert f">{mean:.3f}<" in drawings[0].svg


def test_hostile_names_stay_names(document):
    name = '"><script>x'
    hostile = {**document, "curves": {name: {"loss": [[1, 2.0], [2, 1.0]]}}, "stages": {}}
    [drawing] = training_figures(hostile)
    assert "<script" not in drawing.svg
    ET.fromstring(drawing.svg)
