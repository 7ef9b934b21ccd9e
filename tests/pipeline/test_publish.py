"""The report is written when something ran, and left alone when nothing did."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from accord.config.load import load_recipe
from accord.errors import AccordError
from accord.evaluation.study.document import study_document
from accord.evaluation.study.table import Cell
from accord.pipeline.publish import rerender, update_cards
from accord.pipeline.run import run
from accord.report.card_evaluation import BEGIN, END

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


def invented_evaluation(folder: Path, policies: tuple[str, ...], mark: str) -> Path:
    """A finished evaluate stage without a model."""
    from accord.config.generate import SamplingConfig

    sampling = SamplingConfig().model_dump(mode="json")
    protocol = {"reference": policies[0], "scorers": [], "prompts": 2, "samples_per_prompt": 1}
    protocol |= {"sampling": sampling, "bootstrap": 10, "seed": 1}
    found = {name: {"scores": {}, "statistics": {"ended": 0.5}} for name in policies}
    (folder / "accord").mkdir(parents=True)
    evaluation = {"protocol": protocol, "policies": found, "comparisons": []}
    (folder / "accord" / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "accord" / "stage.json").write_text(json.dumps({"fingerprint": mark}))
    return folder


def model(folder: Path, card: str) -> Path:
    (folder / "accord").mkdir(parents=True)
    (folder / "accord" / "stage.json").write_text('{"config": {}}')
    (folder / "README.md").write_text(card)
    return folder


def test_cards_get_the_evaluations_and_keep_their_own_words(tmp_path):
    marks = f"# mine\n{BEGIN}\n{END}\nwords\n"
    sft, far = model(tmp_path / "sft", marks), model(tmp_path / "far", marks)
    plain = model(tmp_path / "plain", "# without marks\n")
    first = invented_evaluation(tmp_path / "a", ("sft", str(far)), "first")
    second = invented_evaluation(tmp_path / "b", ("sft", str(plain), "hub:a/b"), "second")
    update_cards({"sft": sft}, [first, second])
    card = (sft / "README.md").read_text()
    assert card.startswith("# mine\n") and card.endswith(f"{END}\nwords\n")
    assert card.index("`first`") < card.index("`second`") and "| 50.0\u00a0% |" in card
    assert "`first`" in (far / "README.md").read_text()
    assert (plain / "README.md").read_text() == "# without marks\n"
    written = (sft / "README.md").stat().st_mtime_ns
    update_cards({"sft": sft}, [first, second])
    assert (sft / "README.md").stat().st_mtime_ns == written
    update_cards({"sft": sft}, [second])
    assert "`first`" not in (sft / "README.md").read_text()


def test_a_run_writes_what_it_measured_into_its_cards_and_still_stands(evaluated):
    out = evaluated()
    mark = json.loads((out / "eval" / "accord" / "stage.json").read_text())["fingerprint"]
    records = {name: (out / name / "accord" / "stage.json").read_bytes() for name in ("sft", "dpo")}
    for name in records:
        (out / name / "README.md").write_text(f"# mine\n{BEGIN}\n{END}\n")
    evaluation = invented_evaluation(out / "found", ("sft", "dpo"), mark) / "accord"
    (evaluation / "evaluation.json").replace(out / "eval" / "accord" / "evaluation.json")
    evaluated()
    for name, record in records.items():
        assert f"`{mark}`" in (out / name / "README.md").read_text()
        assert (out / name / "accord" / "stage.json").read_bytes() == record


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
