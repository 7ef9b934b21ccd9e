"""A study's figures: what is drawn, in the page's colours, readable with many prompts."""

import re
import xml.etree.ElementTree as ET

import pytest
from invented_study import invented_study

from accord.report import study_figures
from accord.report.study_training import training_figures
from accord.report.svg import SERIES, VARIABLES


@pytest.fixture(scope="module")
def study() -> dict:
    return invented_study()


@pytest.fixture(scope="module")
def drawings(study) -> dict:
    pair = ("phase 1", "phase 5")
    return {
        "bars": study_figures.per_prompt(study, "phase 1", "learned"),
        "averages": study_figures.averages(study, "learned"),
        "before": study_figures.before_after(study, pair, "learned"),
        "heat": study_figures.heat_map(study, "phase 1", "learned"),
        "bump": study_figures.bump(study, "learned"),
        "frontier": next(study_figures.frontiers(study, "learned")),
        **{d.name: d for _, d in training_figures(study)},
    }


def texts(drawing) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)


def test_every_figure_is_a_well_formed_svg_in_the_page_s_colours(drawings):
    for drawing in drawings.values():
        root = ET.fromstring(drawing.svg)
        assert root.tag == "svg" and root.get("aria-label") == drawing.title and drawing.caption
        assert not re.findall(r"#[0-9a-fA-F]{6}\b|https?:", drawing.svg), drawing.name
        assert set(re.findall(r"var\((--[a-z0-9-]+)\)", drawing.svg)) <= set(VARIABLES.values())


def test_training_has_the_figures_of_its_kinds(drawings):
    named = [n for n in drawings if n.endswith("-0")]
    assert named == ["dpo-dynamics-0", "ppo-reward-0", "grpo-reward-0", "grpo-spread-0"]
    assert "phase 1 stands for phase 1 sampled as 5, too." in drawings["dpo-dynamics-0"].caption


def test_the_collapse_threshold_is_drawn(study, drawings):
    dashed = [d for d in re.findall(r"stroke-dasharray: ([0-9.,]+)", drawings["grpo-spread-0"].svg)]
    assert len(dashed) == 4  # two rows, two variants
    assert "stroke-dasharray" not in drawings["dpo-dynamics-0"].svg


def test_many_variants_stand_in_several_figures(study):
    dpo = study["training"]["dpo"]
    curve = next(iter(dpo["curves"].values()))
    six = {**dpo, "shared": {}, "curves": {f"v{i}": curve for i in range(6)}}
    found = training_figures({**study, "training": {"dpo": six}})
    assert [(abreast, d.name) for abreast, d in found] == [
        (4, "dpo-dynamics-0"), (2, "dpo-dynamics-4"),
    ]  # fmt: skip


def test_the_heat_map_says_every_difference(study, drawings):
    found = study["deltas"]["phase 1"]["learned"]["matrix"]
    shown = [f"{value:+.1f}".replace("-", "−") for row in found for value in row]
    assert [t for t in texts(drawings["heat"]) if re.fullmatch(r"[+−]\d\.\d", t)] == shown


def test_above_is_blue_and_below_is_orange(study):
    row = {"policies": ["ppo"], "matrix": [[1.0, -1.0] + [0.5] * 14]}
    one = {**study, "deltas": {variant: {"learned": row} for variant in study["variants"]}}
    svg = study_figures.heat_map(one, "phase 1", "learned").svg
    fills = re.findall(r"fill: var\((--series-\d)\); fill-opacity: ([\d.]+)", svg)
    assert fills[:2] == [("--series-1", "0.62"), ("--series-2", "0.62")]
    assert 0.06 < float(fills[2][1]) < 0.62


def test_ranks_and_names_stand_in_the_bump_chart(drawings):
    shown = texts(drawings["bump"])
    assert [shown.count(rank) for rank in ("1", "2", "3", "4")] == [4, 4, 4, 4]
    assert {"sft", "ppo", "grpo", "dpo"} <= set(shown)


def test_a_confounded_pair_is_called_so(study, drawings):
    assert "no effect of training" in drawings["before"].caption
    fair = study_figures.before_after(study, ("phase 1", "phase 5 sampled as 1"), "learned")
    assert "Only training changed." in fair.caption


def test_unlike_evaluations_have_shapes_of_their_own(study, drawings):
    assert "Dots: as phase 1; squares: as phase 1 sampled as 5." in drawings["frontier"].caption
    alike = {p: [{**point, "alike": "phase 1"} for point in points]
             for p, points in study["frontier"].items()}  # fmt: skip
    [one] = study_figures.frontiers({**study, "frontier": alike}, "learned")
    assert "squares" not in one.caption


def test_without_kl_there_is_no_frontier(study):
    assert list(study_figures.frontiers({**study, "frontier": {}}, "learned")) == []


def test_many_prompts_are_cut_and_the_caption_says_so(study):
    long = {**study, "prompts": study["prompts"] * 4}
    many = {v: {p: {"learned": s["learned"] * 4} for p, s in by.items()}
            for v, by in study["per_prompt"].items()}  # fmt: skip
    drawing = study_figures.per_prompt({**long, "per_prompt": many}, "phase 1", "learned")
    assert "The first 24 of 64 prompts" in drawing.caption
    assert "24" in texts(drawing) and "25" not in texts(drawing)


def test_the_reference_is_grey_and_colours_do_not_repeat(study):
    found = study_figures.colours(study)
    assert found["sft"] == SERIES[0] and len(set(found.values())) == 4
