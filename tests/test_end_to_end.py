"""The whole chain through the command line: what is left, what it means, what is reused."""

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.checkpoint.folder import load_model
from accord.data.packing import Example, Response, collate
from accord.model.plan import Plan

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "tiny.yaml"
MODELS = ("base", "sft", "dpo", "ppo", "grpo", "online")
POLICIES = MODELS[1:]
SCORERS = ("length", "fluency", "reward")
HF_FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
}


def weights(home: Path, run: str = "tiny") -> dict[str, str]:
    """SHA-256 of each trained model."""
    files = {name: home / "runs" / run / name / "model.safetensors" for name in MODELS}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def metrics(home: Path, stage: str) -> list[dict[str, Any]]:
    path = home / "runs" / "tiny" / stage / "accord" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines_of(home: Path, name: str) -> int:
    """Rows in a file of the corpus, a table's header not counted."""
    lines = (home / "tiny-data" / name).read_text().splitlines()
    return len(lines) - name.endswith(".tsv")


def test_every_artifact_is_there(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    for name in (*MODELS, "reward"):
        files = {file.name for file in (run / name).iterdir() if file.is_file()}
        # what scores generates nothing
        assert files == HF_FILES - ({"generation_config.json"} if name == "reward" else set())
        for record in ("stage.json", "metrics.jsonl", "rows.json"):
            assert (run / name / "accord" / record).stat().st_size
    assert (run / "tokenizer" / "tokenizer.json").stat().st_size
    assert (run / "tokenizer" / "accord" / "tokenizer_report.json").stat().st_size
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="https://' not in page


def test_cards_tell_what_the_evaluation_found(finished: Path) -> None:
    run = finished / "runs" / "tiny"
    [evaluation] = run.glob("*/accord/evaluation.json")
    found = read_json(evaluation)
    mark = read_json(evaluation.with_name("stage.json"))["fingerprint"]
    for name in found["policies"]:
        card = (run / name / "README.md").read_text(encoding="utf-8")
        assert "## Evaluation" in card and f"`{mark}`" in card
        assert all(f"| {scorer} |" in card for scorer in found["protocol"]["scorers"])
        assert ("| difference |" in card) == (name != found["protocol"]["reference"])


@pytest.mark.peer
@pytest.mark.parametrize("name", MODELS)
def test_models_are_transformers_models(finished: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished / "runs" / "tiny" / name
    ids = AutoTokenizer.from_pretrained(folder)("A warm film with a dull script.")["input_ids"]
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours = load_model(folder).eval()
    batch = collate([Example(tuple(ids), (Response((0,), (True,)),))])
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0]
        hidden = ours(batch.ids_N, batch.position_N, Plan.of(batch.layout))
        assert (ours.logits(hidden) - expected).abs().max() <= 1e-5


def test_the_report_holds_every_number(finished: Path) -> None:
    report = read_json(finished / "runs" / "tiny" / "report.json")
    assert set(report["policies"]) == set(POLICIES)
    for policy in report["policies"].values():
        assert set(policy["scores"]) == set(SCORERS)
        for score in policy["scores"].values():
            low, high = score["ci95"]
            assert low <= score["mean"] <= high
        assert policy["kl"]["mean"] >= 0
    assert report["policies"]["sft"]["kl"]["mean"] == 0
    assert report["policies"]["dpo"]["kl"]["mean"] > 0
    assert {(c["policy"], c["reference"], c["scorer"]) for c in report["comparisons"]} == {
        (policy, "sft", scorer) for policy in POLICIES[1:] for scorer in SCORERS
    }
    for row in report["comparisons"]:
        policies = report["policies"]
        names = (row["policy"], "sft")
        means = [policies[name]["scores"][row["scorer"]]["mean"] for name in names]
        assert row["difference"] == pytest.approx(means[0] - means[1])
        assert row["ci95"][0] <= row["difference"] <= row["ci95"][1]
    assert report["findings"]
    assert {"tokenizer", *MODELS, "reward", "report"} <= set(report["timings"])
    assert report["environment"]["versions"]["torch"] == torch.__version__.split("+")[0] or (
        report["environment"]["versions"]["torch"] == torch.__version__
    )
    assert set(report["rows"]) >= {"tokenizer", *MODELS, "reward"}


def test_every_row_read_is_kept_or_counted(finished: Path) -> None:
    files = {"reviews": "reviews.tsv", "stories": "stories.jsonl"}
    rows = read_json(finished / "runs" / "tiny" / "report.json")["rows"]
    for stage, sources in (
        ("tokenizer", {"reviews", "stories"}),
        ("base", {"reviews", "stories"}),
        ("sft", {"reviews"}),
        *((stage, {"reviews"}) for stage in ("dpo", "reward", "ppo", "grpo", "online")),
        ("report", {"reviews"}),
    ):
        assert set(rows[stage]) == sources
        for source, entry in rows[stage].items():
            read = entry["kept"] + sum(entry["dropped"].values())
            assert read == lines_of(finished, files[source]), (stage, source)
            assert entry["kept"] >= 0
            assert entry["dropped"].get("duplicate", 0) == (source == "reviews")


def test_metrics_have_their_names_and_every_step_once(finished: Path) -> None:
    everywhere = {"step", "loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "entropy"}
    everywhere |= {"mean_token_accuracy", "tokens_per_second", "peak_memory_bytes"}
    rewards = {f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")}
    pairs = {*rewards, "logps/chosen", "logps/rejected", "pairs_per_second"}
    for stage, steps, extra in (("base", 40, set()), ("sft", 20, set()), ("dpo", 20, pairs)):
        lines = metrics(finished, stage)
        assert [line["step"] for line in lines] == list(range(1, steps + 1))
        for line in lines:
            assert {key for key in line if not key.startswith("eval_")} == everywhere | extra
            assert line["tokens_per_second"] > 0
            assert line["peak_memory_bytes"] > 0
        evaluated = [line["step"] for line in lines if "eval_loss" in line]
        assert evaluated == list(range(steps // 2, steps + 1, steps // 2))
        assert lines[-1]["loss"] < lines[0]["loss"]


def test_the_first_preference_step_starts_at_log_2(finished: Path) -> None:
    first = metrics(finished, "dpo")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)


def test_a_second_run_reuses_all_stages(tiny_home: Path, accord: Any) -> None:
    report = tiny_home / "runs" / "tiny" / "report.html"
    before = weights(tiny_home), report.stat().st_mtime_ns
    said = accord("run", RECIPE, cwd=tiny_home).stdout
    assert [line.split()[1] for line in said.splitlines()[:9]] == ["reused"] * 9
    assert (weights(tiny_home), report.stat().st_mtime_ns) == before


def test_a_change_reruns_only_what_it_touches(tiny_home: Path, accord: Any) -> None:
    before = weights(tiny_home)
    said = accord("run", RECIPE, "dpo.beta=0.3", cwd=tiny_home).stdout
    assert "step" in said
    for name in ("tokenizer", "base", "sft", "reward", "ppo", "grpo", "online"):
        assert f"{name}  reused" in said
    for name in ("dpo", "report"):
        assert f"{name}  reused" not in said
    after = weights(tiny_home)
    assert (after["base"], after["sft"]) == (before["base"], before["sft"])
    assert after["dpo"] != before["dpo"]
    report = read_json(tiny_home / "runs" / "tiny" / "report.json")
    assert report["recipe"]["stages"]["dpo"]["beta"] == 0.3


def test_the_policy_stages_log_their_rollouts(finished: Path) -> None:
    common = {"reward", "objective/kl", "unique", "judges/regex/mean", "rewards/reward/mean"}
    common |= {"completions/mean_length", "completions/clipped_ratio", "prompts_per_second"}
    own = {
        "ppo": {"objective/scores", "kl_coef", "loss/value_avg", "policy/clipfrac_avg"},
        "grpo": {"reward_std", "frac_reward_zero_std", "kl", "clip_ratio/region_mean"},
        "online": {"rewards/margins", "rewards/accuracies", "pairs_made"},
    }
    for stage, names in own.items():
        lines = metrics(finished, stage)
        assert [line["step"] for line in lines] == list(range(1, 9))
        # two passes over two batches a roll-out
        assert [line["step"] for line in lines if "reward" in line] == [1, 5]
        assert common | names <= lines[0].keys()
        assert lines[0]["objective/kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_the_seed_decides_the_bytes(finished: Path, tmp_path: Path, accord: Any) -> None:
    shutil.copytree(finished / "tiny-data", tmp_path / "tiny-data")
    accord("run", RECIPE, "--out", "runs/again", cwd=tmp_path)
    accord("run", RECIPE, "--out", "runs/other", "seed=2", cwd=tmp_path)
    assert weights(tmp_path, "again") == weights(finished)
    other = weights(tmp_path, "other")
    assert all(other[name] != mine for name, mine in weights(finished).items())
