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


def test_a_reward_model_says_what_it_is_and_how_to_load_it(all_stages):
    card = model_card(all_stages["rm"])
    assert front(card)["pipeline_tag"] == "text-classification"
    assert front(card)["library_name"] == "transformers"
    assert front(card)["tags"] == ["accord", "reward-model"]
    assert 'AutoModelForSequenceClassification.from_pretrained(".")' in card
    assert "AutoModelForCausalLM" not in card and "What was maximised" not in card
    assert "| this model | 1204 | 0.871 | 0.852 to 0.889 |" in card
    assert "| TF-IDF ridge | 1204 | 0.865 | 0.846 to 0.884 |" in card
    assert "| architecture | causal |" in card


def test_a_bidirectional_scorer_is_not_promised_to_transformers(tmp_path):
    (tmp_path / "accord").mkdir()
    config = {"architecture": "bidirectional", "from": "sft"}
    stage = {"name": "rm", "kind": "reward", "config": config}
    (tmp_path / "accord" / "stage.json").write_text(json.dumps(stage))
    card = model_card(tmp_path)
    assert front(card)["library_name"] == "accord"
    assert "load_scorer" in card and "AutoModel" not in card


def test_an_adapter_is_loaded_with_peft_and_may_be_merged(stages, tmp_path):
    stage = json.loads((stages["dpo"] / "accord" / "stage.json").read_text())
    stage["config"]["lora"] = {"r": 4, "lora_alpha": 8.0}
    (tmp_path / "accord").mkdir()
    (tmp_path / "accord" / "stage.json").write_text(json.dumps(stage))
    card = model_card(tmp_path)
    assert front(card)["library_name"] == "peft"
    assert 'AutoPeftModelForCausalLM.from_pretrained(".")' in card and "accord merge" in card
    assert "| lora | {'r': 4, 'lora_alpha': 8.0} |" in card
    assert "merge" not in model_card(stages["dpo"])


def test_policies_say_what_they_maximised_and_what_held_them(all_stages):
    cards = {name: model_card(all_stages[name]) for name in ("ppo", "grpo", "online")}
    for name, card in cards.items():
        assert front(card)["pipeline_tag"] == "text-generation"
        assert front(card)["datasets"] == ["owner/prompts"]
        assert "| reward model `rm` | 1.0 |" in card
        assert "not trained on: `vader`" in card
        assert "AutoModelForCausalLM" in card and "from `sft`" in card
        assert "| num_generations | 4 |" in card
        log = (all_stages[name] / "accord" / "metrics.jsonl").read_text().splitlines()
        last = [line for line in map(json.loads, log) if "reward" in line][-1]
        assert f"| reward | {last['reward']:.4f} | {last['step']} |" in card
        assert f"| judges/vader/mean | {last['judges/vader/mean']:.4f} |" in card
        assert "| loss |" not in card
        assert "whatever that reward gets wrong" in card
    assert "(PPO)" in cards["ppo"] and "weighted by 0.05, is taken off" in cards["ppo"]
    assert "(GRPO)" in cards["grpo"] and "Nothing held it" in cards["grpo"]
    assert "best against the worst" in cards["online"] and "beta 0.1" in cards["online"]


def test_the_family_of_grpo_is_called_by_its_names(all_stages, tmp_path):
    stage = json.loads((all_stages["grpo"] / "accord" / "stage.json").read_text())
    (tmp_path / "accord" / "critic").mkdir(parents=True)
    for advantage, name in (("rloo", "(RLOO)"), ("reinforce_plus_plus", "REINFORCE++")):
        rollout = {"iterations": 2, "sampling": {"temperature": 0.7, "top_k": 0}}
        stage["config"] |= {"advantage": advantage, "rollout": rollout}
        (tmp_path / "accord" / "stage.json").write_text(json.dumps(stage))
        card = model_card(tmp_path)
        assert name in card and "(GRPO)" not in card
        assert "| rollout.iterations | 2 |" in card
        assert "| rollout.sampling.temperature | 0.7 |" in card and "top_k" not in card
        assert "accord/critic" in card


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


def test_held_out_text_languages_and_notes_stand_in_tables(tmp_path):
    home = tmp_path / "accord"
    home.mkdir()
    stage = {"name": "sft", "kind": "sft", "config": {"data": [], "from": "hub:owner/base"}}
    kept = {"kept": 12, "dropped": {}, "truncated": {"too long": 2}}
    rows = {"web": {**kept, "languages": {"ko": 5, "en": 7}, "notes": {"held out": 3}}, "own": kept}
    heldout = {"web": {"rows": 3, "tokens": 4567, "bytes": 90, "bits_per_byte": 1.25}}
    for name, value in (("stage", stage), ("rows", rows), ("heldout", heldout)):
        (home / f"{name}.json").write_text(json.dumps(value))
    card = model_card(tmp_path)
    assert "| web | 3 | 4,567 | 1.250 |" in card
    assert "| web | ko | 5 |\n| web | en | 7 |\n\n- web: 3 held out\n\n## Limit" in card
    assert "| own | 12 | none | 2 too long |" in card
    assert front(card)["language"] == ["en", "ko"] and front(card)["base_model"] == "owner/base"
    assert front(card)["license"] == "unknown" and "Nobody has chosen one yet" in card
    chosen = model_card(tmp_path, Origin("mit"))
    assert "\nmit.\n" in chosen and "Nobody has chosen" not in chosen
