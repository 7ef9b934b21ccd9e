"""The report is written when something ran, and left alone when nothing did."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from accord.config.load import load_recipe
from accord.errors import AccordError
from accord.evaluation.study.document import study_document
from accord.evaluation.study.table import Cell
from accord.pipeline.publish import rerender
from accord.pipeline.run import run

EVALUATE = "  eval: {kind: evaluate, policies: [dpo], reference: sft, prompts: {texts: [hi]}}\n"


@pytest.fixture
def evaluated(home, setting):
    (home / "recipe.yaml").write_text((home / "recipe.yaml").read_text() + EVALUATE)

    def again(*settings: str) -> Path:
        return run(load_recipe(home / "recipe.yaml", settings), setting=replace(setting))

    return again


def test_the_report_holds_every_stage(evaluated):
    out = evaluated("title=A heading")
    document = json.loads((out / "report.json").read_text())
    assert list(document["stages"]) == ["tokenizer", "base", "sft", "dpo", "eval"]
    assert document["title"] == "A heading"
    assert document["recipe"]["stages"]["dpo"]["from"] == "sft"
    assert set(document["timings"]) == set(document["stages"])
    assert "A heading" in (out / "report.html").read_text()


def test_it_is_written_again_only_when_needed(evaluated):
    out = evaluated()
    page = out / "report.html"
    page.write_text("kept")
    evaluated()
    assert page.read_text() == "kept"
    evaluated("dpo.beta=0.9")
    assert page.read_text() != "kept"
    page.unlink()
    evaluated("dpo.beta=0.9")
    assert page.exists()
    evaluated("dpo.beta=0.9", "title=Another heading")
    assert "Another heading" in page.read_text()


def test_rerender_draws_the_same_page(evaluated):
    out = evaluated()
    page = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert rerender(out) == [out / "report.html"]
    assert (out / "report.html").read_text() == page


def test_rerender_needs_numbers(tmp_path):
    with pytest.raises(AccordError, match=r"no report\.json"):
        rerender(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(AccordError, match="not readable as JSON"):
        rerender(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(AccordError, match="the report lacks"):
        rerender(tmp_path)


def test_a_study_is_drawn_again_from_its_folder_or_its_file(tmp_path):
    scores = {p: {"scores": {"length": 1.0 + i}} for i, p in enumerate(("sft", "dpo"))}
    sample = {"id": "a", "prompt": "hi", "policies": scores}
    for facts in scores.values():
        facts |= {"completion": "ho", "ended": True}
    evaluation = {"samples": [sample], "protocol": {"reference": "sft"}}
    document = study_document([Cell("plain", 1, evaluation, {})], "Drawn again", resamples=20)
    numbers = tmp_path / "study_report.json"
    numbers.write_text(json.dumps(document))
    assert rerender(tmp_path) == rerender(numbers) == [tmp_path / "study.html"]
    assert "Drawn again" in (tmp_path / "study.html").read_text()
    for key in ("headline", "averages"):  # the one a template asks for, the other a figure
        numbers.write_text(json.dumps({k: v for k, v in document.items() if k != key}))
        with pytest.raises(AccordError, match=f"the report lacks .*{key}"):
            rerender(tmp_path)
