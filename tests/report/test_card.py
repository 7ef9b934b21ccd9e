"""The model card says what the folder says."""

import json

import pytest
import yaml

from accord.errors import AccordError
from accord.report.card import Origin, model_card


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter(stages):
    origin = Origin("apache-2.0", ("en",), "someone/base")
    assert front(model_card(stages["dpo"], origin)) == {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "someone/base",
        "tags": ["accord", "dpo"],
    }


def test_what_is_not_known_is_left_out_and_not_invented(stages):
    found = front(model_card(stages["sft"]))
    assert found["license"] == "unknown"
    assert not {"language", "base_model", "datasets"} & set(found)


def test_tables_hold_settings_metrics_rows_and_revision(stages):
    card = model_card(stages["dpo"])
    assert "| beta | 0.1 |" in card and "| lr | 0.0003 |" in card
    log = (stages["dpo"] / "accord" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(log[-1])
    assert f"| eval_loss | {last['eval_loss']:.4f} | {last['step']} |" in card
    assert "| movie reviews | 4400 | 3 chosen equals rejected, 530 held out | none |" in card or (
        "| movie reviews | 4400 | 530 held out, 3 chosen equals rejected | none |" in card
    )
    assert "| git revision | b39e4f5 |" in card and "| torch | 2.13.0 |" in card
    assert "## Limitations" in card


def test_hub_sources_are_named_as_data_sets(tmp_path):
    (tmp_path / "accord").mkdir()
    sources = [{"source": "hub:owner/name:train"}, {"source": "local.jsonl"}]
    stage = {"name": "sft", "kind": "sft", "config": {"data": sources, "from": "base"}}
    (tmp_path / "accord" / "stage.json").write_text(json.dumps(stage))
    card = model_card(tmp_path)
    assert front(card)["datasets"] == ["owner/name"]
    assert "from `base`" in card and "not in a repository" in card


def test_a_folder_without_a_stage_is_refused(tmp_path):
    with pytest.raises(AccordError, match="no finished stage"):
        model_card(tmp_path)
