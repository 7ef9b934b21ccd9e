"""The page: whole in one file, true to its numbers, safe whatever a model writes."""

import json
import re
import shutil
import subprocess

import pytest
from parsed import Page, as_number, look_up

from accord.evaluation.document import assemble
from accord.report.page import render, write


@pytest.fixture(scope="module")
def pages(document, whole) -> dict[str, str]:
    """Each document's page, drawn once."""
    return {"document": render(document), "whole": render(whole)}


@pytest.fixture(scope="module", params=["document", "whole"])
def html(request, pages) -> str:
    return pages[request.param]


@pytest.fixture(scope="module")
def report(request, html, pages) -> dict:
    """The document that `html` shows: DPO alone, or every kind of stage."""
    [name] = [name for name, page in pages.items() if page is html]
    return request.getfixturevalue(name)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_every_tag_is_closed(page):
    assert page.open == []


def test_every_number_is_that_of_the_document(page, report):
    assert len(page.data) > 400
    for at, value, shown in page.data:
        number = look_up(report, at)
        assert float(value) == number, at
        if " s" in shown or "min" in shown:
            continue
        got, half = as_number(shown)
        assert got == pytest.approx(number, abs=half), (at, shown)


def test_every_score_statistic_row_and_time_is_on_the_page(page, report):
    shown = {at for at, _, _ in page.data}
    for name, policy in report["policies"].items():
        for scorer in policy["scores"]:
            assert f"/policies/{name}/scores/{scorer}/mean" in shown
            assert f"/policies/{name}/scores/{scorer}/ci95/0" in shown
        assert {f"/policies/{name}/statistics/{s}" for s in policy["statistics"]} <= shown
    assert {f"/comparisons/{i}/difference" for i in range(len(report["comparisons"]))} <= shown
    assert {f"/timings/{name}" for name in report["timings"]} <= shown
    for stage, sources in report["rows"].items():
        for source, counts in sources.items():
            for kind in ("dropped", "truncated"):
                assert {f"/rows/{stage}/{source}/{kind}/{why}" for why in counts[kind]} <= shown


def test_every_finding_and_its_remedy_are_on_the_page(page, report):
    assert report["findings"]
    for finding in report["findings"]:
        assert finding["sentence"] in page.text and finding["remedy"] in page.text


def test_every_figure_of_a_reward_model_is_on_the_page_beside_its_baseline(pages):
    page = Page(pages["whole"])
    shown = {at for at, _, _ in page.data}
    numbers = ["accuracy", "ci95/0", "ece", "length_correlation", "rating_correlation", "pairs"]
    numbers += ["baseline/accuracy", "baseline/ci95/1", "baseline/margin_over"]
    numbers += ["baseline/margin_over_ci95/0", "rewards/std", "by_length/2/accuracy"]
    assert {f"/heldout/rm/{number}" for number in numbers} <= shown
    assert "rm less TF-IDF ridge" in page.text
    # text and pairs stand in tables of their own
    assert {"/heldout/base/stories/bits_per_byte", "/heldout/sft/stories/bytes"} <= shown


def test_every_policy_has_a_line_in_the_headline_and_problems_are_marked(whole, pages):
    html = pages["whole"]
    head = Page(html[: html.index("<nav")] + "</header></body></html>")
    for at, line in enumerate(whole["headline"]["lines"]):
        for key in ("after", "difference", "ci95/0", "kl", "win_rate"):
            assert f"/headline/lines/{at}/{key}" in {where for where, _, _ in head.data}
        assert line["policy"] in head.text
    assert [line["policy"] for line in whole["headline"]["lines"] if line["problems"]] == ["grpo"]
    assert head.text.count("■ problem") == 1


def test_many_notes_are_folded_away_and_few_are_not(pages):
    for name, folded in (("document", False), ("whole", True)):
        details = [a for _, a in Page(pages[name]).elements if a.get("class") == "notes"]
        [attributes] = details
        assert ("open" not in attributes) == folded


def test_what_a_recipe_called_a_scorer_is_explained_by_the_recipe(pages):
    titles = {a.get("title") for tag, a in Page(pages["whole"]).elements if tag == "abbr"}
    assert "Score of the reward model rm." in titles


def test_nothing_is_loaded_from_anywhere(html, page):
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed"), tag
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")


def test_links_lead_somewhere(page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in page.elements if t == "a"}
    assert targets and targets <= set(ids)


def test_samples_are_text_and_not_markup(html, page):
    assert '<script>alert("x")' not in html
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; &lt;b&gt;" in html
    assert '<script>alert("x")</script> & <b>bold</b>' in page.text


def test_names_from_recipes_and_data_are_escaped(document):
    nasty = "<img onerror=x>"
    hostile = json.loads(json.dumps(document).replace("movie reviews", nasty))
    hostile["title"] = hostile["command"] = nasty
    hostile["environment"] = {"cpu": nasty, "versions": {nasty: nasty}}
    hostile["samples"][0]["prompt"] = nasty
    html = render(hostile)
    assert "<img" not in html and "&lt;img onerror" in html
    Page(html)


def test_the_same_document_gives_the_same_page(document, pages):
    assert render(document) == pages["document"]


def test_metric_names_are_explained(page):
    titles = [a["title"] for t, a in page.elements if t == "abbr"]
    assert len(titles) > 15 and all(titles)


def test_write_leaves_page_and_numbers(document, pages, tmp_path):
    path = write(document, tmp_path / "run")
    assert path.read_text(encoding="utf-8") == pages["document"]
    assert json.loads((path.parent / "report.json").read_text(encoding="utf-8")) == document


def test_a_run_without_evaluation_still_has_a_page(stages):
    trained = {name: stages[name] for name in ("tokenizer", "sft")}
    page = Page(render(assemble(trained, title="Only trained")))
    assert "Only trained" in page.text and "Side by side" not in page.text
    assert "Training" in page.text and "held out" in page.text
    assert not any(at.startswith("/policies") for at, _, _ in page.data)


def test_an_evaluation_alone_has_a_page(stages):
    page = Page(render(assemble({"evaluate": stages["report"]}, title="Only evaluated")))
    assert "Side by side" in page.text and "dpo moved mean vader" in page.text


def test_nothing_at_all_has_a_page(tmp_path):
    assert "Empty" in Page(render(assemble({"x": tmp_path}, title="Empty"))).text


@pytest.mark.slow
def test_no_page_scrolls_sideways_on_a_phone_in_a_real_browser(html, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    # the shipped page forbids scripts: the probe goes into a copy, and so does the phone's width
    probe = """<script>onload=()=>{document.title=[innerWidth,document.documentElement.scrollWidth,
      getComputedStyle(document.body).backgroundColor,document.querySelectorAll('svg').length,
      [...document.querySelectorAll('figure svg')].every(s=>s.getBoundingClientRect().height>60)
      ].join('|');parent.postMessage(document.title,'*')}</script>"""
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    (tmp_path / "probe.html").write_text(open_page.replace("</body>", probe + "</body>"))
    (tmp_path / "phone.html").write_text(
        "<body><p id=said></p><script>onmessage=e=>said.textContent=e.data</script>"
        '<iframe src="probe.html" style="width:390px;height:800px;border:0"></iframe></body>'
    )
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--hide-scrollbars", "--virtual-time-budget=4000", "--dump-dom"),
    ]
    done = subprocess.run(
        [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", str(tmp_path / "phone.html")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = re.search(r'<p id="said">([^<]+)</p>', done.stdout)
    assert said, done.stdout[-500:]
    width, scroll, background, figures, tall = said.group(1).split("|")
    assert (width, scroll) == ("390", "390")
    assert background == "rgb(252, 252, 250)"
    assert (figures, tall) == (str(html.count("<svg")), "true")
