"""Figures of policy stages: what is drawn, from which points, and what is marked."""

import re
import xml.etree.ElementTree as ET

import pytest

from accord.report.curves import reward_figures, training_figures
from accord.report.paths import _joined, path_figures, policy_figures, sample_figures
from accord.report.svg import VARIABLES


@pytest.fixture(scope="module")
def drawings(whole):
    makers = (policy_figures, path_figures, sample_figures, training_figures, reward_figures)
    return {d.name: d for maker in makers for d in maker(whole)}


def texts(drawing) -> list[str]:
    return [element.text for element in ET.fromstring(drawing.svg).iter("text")]


def test_what_is_drawn(drawings):
    stages = ("ppo", "grpo", "online")
    assert list(drawings) == [
        *(f"{name}-overview" for name in stages),
        *("path-reward", "path-judges-vader-mean"),
        *(f"{name}-samples" for name in stages),
        *("base-loss", "sft-loss", "rm-loss", "rm-accuracy"),
        *("dpo-loss", "dpo-margins", "dpo-accuracies", "dpo-rewards", "dpo-logps"),
        *("online-margins", "online-accuracies"),
        *("rm-scores", "rm-calibration"),
    ]


def test_runs_without_policy_stages_have_no_such_figures(document):
    assert policy_figures(document) == path_figures(document) == sample_figures(document) == []
    assert reward_figures(document) == []


def test_each_stage_shows_reward_judge_and_kl_over_the_same_steps(drawings):
    for name in ("ppo", "grpo", "online"):
        found = texts(drawings[f"{name}-overview"])
        order = ["reward", "judge: vader", "KL from the reference, nats a completion"]
        assert [text for text in found if text in order] == order
        assert found.count("step") == 1  # the panels share one axis


def test_only_over_optimisation_is_marked(whole, drawings):
    [finding] = [f for f in whole["findings"] if f["name"] == "over_optimised"]
    assert finding["evidence"]["stage"] == "grpo"
    said = f"Dashed: step {finding['evidence']['step']}"
    marked = {n for n, d in drawings.items() if said in d.caption}
    assert marked == {"grpo-overview"}
    dashes = {n: d.svg.count("stroke-dasharray") for n, d in drawings.items() if "overview" in n}
    assert dashes == {"ppo-overview": 0, "grpo-overview": 3, "online-overview": 0}


def test_paths_name_every_stage(drawings):
    for name in ("path-reward", "path-judges-vader-mean"):
        assert {"ppo", "grpo", "online"} <= set(texts(drawings[name]))
    assert drawings["path-judges-vader-mean"].title == "vader against KL"


def test_a_stage_without_judge_or_roll_outs_is_drawn_as_far_as_it_goes(whole):
    bare = {"reward": [[1, 0.0], [2, 1.0]], "objective/kl": [[1, 0.1], [2, 0.2]]}
    curves = {"ppo": bare, "grpo": {"loss": [[1, 0.5]]}}
    document = {**whole, "curves": curves, "findings": []}
    assert [d.name for d in policy_figures(document)] == ["ppo-overview"]
    assert "judge" not in policy_figures(document)[0].caption
    assert [d.name for d in path_figures(document)] == ["path-reward"]
    assert sample_figures(document) == []


def test_points_of_a_path_are_means_over_shared_steps():
    kl = [[step, float(step)] for step in range(1, 25)]
    score = [[step, 10.0 * step] for step in range(1, 25, 1)] + [[99, 5.0]]
    assert _joined(kl, score) == [(2 * i + 1.5, 20 * i + 15.0) for i in range(12)]
    assert _joined(kl, [[2, 7.0]]) == [(2.0, 7.0)]
    assert _joined(kl, []) == []


def test_every_figure_takes_its_colours_from_the_page_and_needs_nothing_else(drawings):
    ids = []
    for drawing in drawings.values():
        root = ET.fromstring(drawing.svg)
        assert root.get("aria-label") == drawing.title
        assert not re.search(r"https?:|xmlns|<metadata|#[0-9a-fA-F]{6}\b", drawing.svg)
        used = set(re.findall(r"var\((--[a-z0-9-]+)\)", drawing.svg))
        assert {"--muted", "--line"} <= used <= set(VARIABLES.values())
        ids += re.findall(r'\bid="([^"]+)"', drawing.svg)
    assert len(ids) == len(set(ids))


def test_a_stage_has_its_colour_as_a_policy(drawings):
    # sft is grey, then dpo, ppo, grpo, online in the order they were evaluated
    for name, series in (("ppo", 2), ("grpo", 3), ("online", 4)):
        used = set(re.findall(r"var\(--series-(\d)\)", drawings[f"{name}-overview"].svg))
        assert used == {str(series)}
