"""Single commands on plain files, as a user with a model folder and a file of rows types them."""

import json
from pathlib import Path
from typing import Any

import pytest

SFT = ("steps=4", "batch_size=8", "lr=1e-3")


def record(folder: Path, name: str) -> Any:
    return json.loads((folder / "accord" / name).read_text())


def entry(folder: Path) -> dict[str, Any]:
    (found,) = record(folder, "rows.json").values()
    return found


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "accord" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read(found: dict[str, Any]) -> int:
    return found["kept"] + sum(found["dropped"].values())


@pytest.fixture(scope="module")
def chatting(finished: Path, accord: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base model after supervised fine-tuning on conversations."""
    out = tmp_path_factory.mktemp("single") / "sft"
    base, data = finished / "runs" / "tiny" / "base", finished / "tiny-data" / "chat.jsonl"
    words = ("--model", base, "--data", data, "--out", out)
    accord("sft", *words, *SFT, "chat_template=chatml", "eval_every=2")
    return out


def test_sft_on_conversations(chatting: Path) -> None:
    assert read(entry(chatting)) == 80
    lines = log(chatting)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "eval_loss" in line] == [2, 4]
    assert record(chatting, "heldout.json")["overall"]["rows"] > 0
    named = json.loads((chatting / "tokenizer_config.json").read_text())
    assert named["eos_token"] == "<|im_end|>"


@pytest.mark.peer
def test_its_template_renders_the_same_in_transformers(chatting: Path) -> None:
    from transformers import AutoTokenizer

    from accord.text.chat import render
    from accord.text.messages import Message
    from accord.text.tokenizer import Tokenizer

    turns = [("user", "Where is the fox?"), ("assistant", "By the river.")]
    theirs = AutoTokenizer.from_pretrained(chatting)
    spoken = [{"role": role, "content": content} for role, content in turns]
    expected = theirs.apply_chat_template(spoken, tokenize=True, return_dict=True)["input_ids"]
    ours = render([Message(*turn) for turn in turns], Tokenizer.load(chatting)).ids
    assert ours == expected[: len(ours)]
    assert not theirs.decode(expected[len(ours) :]).strip()


def test_a_reward_model_on_a_preference_file_alike_on_two_ranks(
    chatting: Path, finished: Path, accord: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    data = finished / "tiny-data" / "preferences.jsonl"
    words = ("reward", "--model", chatting, "--data", data)
    # a large eps: where a gradient vanishes, Adam would divide its rounding by itself
    more = ("steps=4", "batch_size=8", "lr=1e-3", "eps=1e-2", "eval_every=2", "precision=fp32")
    accord(*words, "--out", tmp_path / "rm", *more)
    found, config = record(tmp_path / "rm", "heldout.json"), tmp_path / "rm" / "config.json"
    assert read(entry(tmp_path / "rm")) == 80
    assert 0 <= found["ci95"][0] <= found["accuracy"] <= found["ci95"][1] <= 1
    assert found["baseline"]["accuracy"] > 0.5
    assert json.loads(config.read_text())["architectures"][0].endswith("ForSequenceClassification")
    assert "text-classification" in (tmp_path / "rm" / "README.md").read_text()
    accord(*words, "--ranks", "2", "--out", tmp_path / "rm2", *more)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("rm", "rm2"))
    assert one.keys() == two.keys()
    assert all((one[name] - two[name]).abs().max() < 1e-5 for name in one)
    for mine, theirs in zip(log(tmp_path / "rm"), log(tmp_path / "rm2"), strict=True):
        for name in ("loss", "accuracy", "margin", "eval_ece", "eval_length_correlation"):
            if name in mine:
                assert theirs[name] == pytest.approx(mine[name], abs=1e-4), name
    # a reward model where a language model is wanted
    told = accord(
        "dpo", "--model", tmp_path / "rm", "--data", data, "--out", tmp_path / "x", code=2
    )
    assert "holds a reward model" in told.stderr
    told = accord("reward", "--data", data, "--out", tmp_path / "x", code=2)
    assert "give from" in told.stderr


def test_dpo_on_a_preference_file(
    chatting: Path, finished: Path, accord: Any, tmp_path: Path
) -> None:
    data = finished / "tiny-data" / "preferences.jsonl"
    words = ("--model", chatting, "--data", data, "--out", tmp_path / "dpo")
    accord("dpo", *words, "steps=4", "batch_size=8", "lr=1e-3", "eval_every=2")
    found = entry(tmp_path / "dpo")
    assert read(found) == 80
    assert found["dropped"]["chosen and rejected are identical"] == 1
    first, *_, last = log(tmp_path / "dpo")
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert last["loss"] < first["loss"]
    assert last["eval_rewards/accuracies"] > 0.5


def test_dpo_on_pairs_sampled_from_the_model(
    chatting: Path, finished: Path, accord: Any, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text(
        f"""\
pairs:
  kind: sampled
  rejected: {chatting}
  rejected_sampling: {{max_new_tokens: 16}}
heldout: {{fraction: 0.2}}
"""
    )
    data = finished / "tiny-data" / "chat.jsonl"
    words = ("--model", chatting, "--data", data, "--config", tmp_path / "settings.yaml")
    accord("dpo", *words, "--out", tmp_path / "dpo", "steps=3", "batch_size=4", "lr=1e-3")
    assert read(entry(tmp_path / "dpo")) == 80
    assert "eval_rewards/margins" in log(tmp_path / "dpo")[-1]


def test_evaluate_writes_a_report(
    chatting: Path, finished: Path, accord: Any, tmp_path: Path
) -> None:
    base, out = finished / "runs" / "tiny" / "base", tmp_path / "report"
    models = ("--model", finished / "runs" / "tiny" / "sft", "--model", base)
    prompts = ("--prompt", "Where is the fox?", "--prompt", "A warm")
    accord("evaluate", *models, *prompts, "--out", out, "sampling.max_new_tokens=8")
    report = json.loads((out / "report.json").read_text())
    names = {str(finished / "runs" / "tiny" / name) for name in ("sft", "base")}
    assert set(report["policies"]) == names
    assert [sample["prompt"] for sample in report["samples"]] == ["Where is the fox?", "A warm"]
    assert (out / "report.html").stat().st_size > 1000


def test_generate_prints_one_object_a_completion(chatting: Path, accord: Any) -> None:
    words = ("generate", "--model", chatting, "--prompt", "The", "--max-new-tokens", "6", "--json")
    greedy = [accord(*words, "--temperature", "0").stdout for _ in range(2)]
    assert greedy[0] == greedy[1]
    found = json.loads(greedy[0])
    assert found["prompt"] == "The"
    assert len(found["ids"]) == len(found["logps"]) <= 6
    assert all(logp <= 0 for logp in found["logps"])
    several = accord(*words, "--count", "3", "--seed", "5").stdout.splitlines()
    assert [json.loads(line)["seed"] for line in several] == [5, 6, 7]
    alone, among = (json.loads(line) for line in (accord(*words, "--seed", "6").stdout, several[1]))
    assert (alone["ids"], alone["text"]) == (among["ids"], among["text"])
    assert alone["logps"] == pytest.approx(among["logps"], rel=1e-5)


def test_mistakes_are_one_screen_with_their_remedy(
    chatting: Path, finished: Path, accord: Any, tmp_path: Path
) -> None:
    data = finished / "tiny-data" / "chat.jsonl"
    words = ("--model", chatting, "--out", tmp_path / "out")
    wrong = accord("dpo", *words, "--data", data, code=2).stderr
    assert "chat.jsonl:1" in wrong
    assert "chosen and rejected" in wrong
    long = accord("sft", *words, "--data", data, "max_length=129", code=2).stderr
    assert "more than the model's 128 positions" in long
    for said in (wrong, long):
        assert "Traceback" not in said
        assert "fix:" in said
