"""The page of a study: whole in one file, true to its numbers, most important first."""

import copy
import json
import re

import pytest
from invented_study import HOSTILE, cells, invented_study
from parsed import Page, as_number, look_up

from accord.evaluation.study.document import study_document
from accord.report.study import claims_by_family, default_pair, render, write


@pytest.fixture(scope="module")
def study() -> dict:
    return invented_study()


@pytest.fixture(scope="module")
def html(study) -> str:
    return render(study)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def single() -> dict:
    """One variant with one seed, and nothing known of how it was trained."""
    [only] = [c for c in cells(seeds=1) if c.variant == "phase 1"]
    bare = copy.deepcopy(only.evaluation)
    del bare["policies"]
    made = type(only)(only.variant, only.seed, bare, only.settings)
    return study_document([made], "Alone", resamples=200)


@pytest.fixture(scope="module")
def single_html(single) -> str:
    return render(single)


def test_every_tag_is_closed(page):
    assert page.open == []


def test_every_number_is_that_of_the_document(page, study):
    assert len(page.data) > 1000
    for at, value, shown in page.data:
        number = look_up(study, at)
        assert float(value) == number, at
        got, half = as_number(shown)
        assert got == pytest.approx(number, abs=half), (at, shown)


def test_every_claim_average_and_figure_is_on_the_page(page, study):
    shown = {at for at, _, _ in page.data}
    for at in range(len(study["claims"])):
        keys = ("difference", "ci95/0", "ci95/1", "p", "p_holm")
        assert {f"/claims/{at}/{key}" for key in keys} <= shown
    for variant, policies in study["averages"].items():
        for policy in policies:
            for scorer in study["scorers"]:
                assert f"/averages/{variant}/{policy}/{scorer}/mean" in shown
            assert {f"/per_prompt/{variant}/{policy}/learned/{i}" for i in range(16)} <= shown
    assert "/heldout/rm/phase 1/accuracy/mean" in shown
    assert "/training/dpo/curves/phase 5 sampled as 1/rewards~1margins/last" in shown
    assert "/frontier/dpo/0/kl/mean" in shown


def test_methods_at_the_same_kl_are_told_only_of_like_evaluations(page, study):
    assert study["matched"] and not any(at.startswith("/matched") for at, _, _ in page.data)
    alike = copy.deepcopy(study)
    for points in alike["frontier"].values():
        for point in points:
            point["alike"] = "phase 1"
    shown = {at for at, _, _ in Page(render(alike)).data}
    assert "/matched/scores/learned/dpo/0/mean" in shown
    assert {f"/matched/differences/learned/{i}/at/0/ci95/1" for i in range(3)} <= shown


def test_findings_stand_before_conclusions_before_tables_before_figures(html):
    places = [html.index(f'<section id="{name}"') for name in
              ("findings", "conclusions", "tables", "figures", "training", "samples")]  # fmt: skip
    assert places == sorted(places)
    assert html.index("the reward margin grew") < html.index('<section id="conclusions"')


def test_findings_say_in_how_many_seeds_they_stand(page):
    text = " ".join(page.text.split())
    assert "In 6 of 12 runs: phase 1 (3 of 3 seeds), phase 1 sampled as 5 (3 of 3 seeds)." in text
    assert "phase 1 (2 of 3 seeds)" in text and "To mend it: larger groups." in text


def test_what_can_and_cannot_be_concluded_is_on_the_page(page, study):
    factors = study["factors"]
    assert factors["can"] and factors["cannot"] and study["limits"]
    for sentence in (*factors["can"], *factors["cannot"], *study["limits"], study["headline"]):
        assert sentence in page.text


def test_what_is_not_distinguishable_is_folded_and_the_rest_is_not(html, study):
    told = [at for at, claim in enumerate(study["claims"]) if claim["distinguishable"]]
    assert told and len(told) < len(study["claims"])
    for at in range(len(study["claims"])):
        place = html.index(f'data-at="/claims/{at}/p_holm"')
        before = html[:place]
        folded = before.count("<details") > before.count("</details>")
        assert folded == (at not in told)


def test_intervals_that_exclude_zero_only_alone_are_marked(html, study):
    for at, claim in enumerate(study["claims"]):
        row = html[html.index(f'data-at="/claims/{at}/ci95/1"') :]
        assert ("†" in row[: row.index("</td>")]) == claim["unadjusted"]
    assert any(claim["unadjusted"] for claim in study["claims"])


def test_claims_between_variants_come_first(study):
    families = claims_by_family(study)
    assert [f.family for f in families] == ["variants", "confounded", "policies", "methods"]
    places = [at for f in families for at in (*f.told, *f.others)]
    assert sorted(places) == list(range(len(study["claims"])))


def test_the_pair_shown_is_the_one_that_changed_both_sides(study, single):
    assert default_pair(study) == ("phase 1", "phase 5")
    unmixed = {**study, "factors": {"contrasts": []}}
    assert default_pair(unmixed) == ("phase 1", "phase 1 sampled as 5")
    assert default_pair(single) is None


def test_nothing_is_loaded_from_anywhere(html, page):
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed"), tag
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in page.elements if t == "a"}
    assert targets and targets <= set(ids)


def test_samples_and_names_are_text_and_not_markup(html, page, single):
    assert HOSTILE not in html and HOSTILE in page.text
    nasty = "<img onerror=x>"
    hostile = render(json.loads(json.dumps(single).replace("phase 1", nasty)))
    assert "<img" not in hostile and "&lt;img onerror" in hostile
    assert Page(hostile).open == []


def test_one_variant_and_one_seed_without_training_have_a_page(single_html):
    page = Page(single_html)
    assert "Alone" in page.text and "comparisons with the reference" in page.text
    sections = {a["id"] for tag, a in page.elements if tag == "section" and "id" in a}
    assert "training" not in sections and {"findings", "tables", "samples"} <= sections
    assert not any("frontier" in a.get("id", "") for _, a in page.elements)


def test_write_leaves_the_same_page_and_no_other_file(single, single_html, tmp_path):
    path = write(single, tmp_path / "study")
    assert path.name == "study.html"
    assert path.read_text(encoding="utf-8") == single_html
    assert list(path.parent.iterdir()) == [path]
