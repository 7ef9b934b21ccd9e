"""The evaluate stage: which prompts are taken, and what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from left import make_model, record

from accord.checkpoint.folder import load_model
from accord.checkpoint.scorer_folder import save_scorer
from accord.config.data import HeldoutConfig
from accord.data.rows import TextRow
from accord.data.split import is_heldout
from accord.errors import AccordError
from accord.model.scorer import Scorer
from accord.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def other(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = (tiny_data / "stories.jsonl").read_text().splitlines()
    return make_model(tmp_path_factory.mktemp("models") / "other", texts, seed=8)


def settings(reference: Path, policy: Path, prompts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "kind": "evaluate",
        "reference": str(reference),
        "policies": [str(policy)],
        "prompts": prompts,
        "sampling": {"max_new_tokens": 8},
        "scorers": ["length", "fluency"],
        "bootstrap": 50,
        **more,
    }


def test_prompts_are_the_openings_of_texts_held_out(
    run, model_folder: Path, other: Path, tiny_data: Path
) -> None:
    prompts = {
        "data": [{"source": "reviews.tsv", "name": "reviews"}],
        "heldout": {"fraction": 0.2},
        "first_words": 3,
        "count": 1000,
    }
    copies = {"copies_from": prompts["data"]}
    out = run(settings(model_folder, other, prompts, **copies))
    found = record(out, "evaluation.json")
    texts = [line.split("\t")[2] for line in (tiny_data / "reviews.tsv").read_text().splitlines()]
    held = [t for t in texts if is_heldout(TextRow(text=t), HeldoutConfig(fraction=0.2))]
    openings = {" ".join(text.split()[:3]) for text in held}
    assert {sample["prompt"] for sample in found["samples"]} == openings
    assert all(policy["statistics"]["copies"] == 0 for policy in found["policies"].values())
    entry = record(out, "rows.json")["reviews"]
    assert entry["kept"] + sum(entry["dropped"].values()) == len(texts) - 1


def test_conversations_give_prompts_and_openings(run, model_folder: Path, other: Path) -> None:
    data = [{"source": "chat.jsonl"}]
    asked = run(settings(model_folder, other, {"data": data, "count": 4}), "asked")
    begun = run(
        settings(
            model_folder, other, {"data": data, "count": 4, "first_words": 2}, copies_from=data
        ),
        "begun",
    )
    for sample in record(asked, "evaluation.json")["samples"]:
        assert sample["prompt"].endswith("?")
        assert not sample["continues"]
    for sample in record(begun, "evaluation.json")["samples"]:
        assert sample["prompt"].startswith("The ")
        assert sample["continues"]


def test_prompts_without_room_for_an_answer_are_counted(
    run, model_folder: Path, other: Path
) -> None:
    prompts = {"data": [{"source": "chat.jsonl", "name": "chats"}], "count": 4}
    out = run(settings(model_folder, other, prompts, sampling={"max_new_tokens": 1000}))
    entry = record(out, "rows.json")["chats"]
    assert entry["kept"] > 4
    assert entry["dropped"].pop("prompt longer than 128 tokens") > 4
    assert record(out, "evaluation.json")["protocol"]["prompts"] == 4


def test_the_same_seed_gives_the_same_numbers(run, model_folder: Path, other: Path) -> None:
    wanted = settings(model_folder, other, {"texts": ["Who is there?", "Where is the fox?"]})
    first, again, another = (
        record(run(wanted, name, seed), "evaluation.json")
        for name, seed in (("first", 1), ("again", 1), ("another", 2))
    )
    assert first == again
    assert first["samples"] != another["samples"]
    assert first["policies"][str(model_folder)]["kl"]["mean"] == 0
    assert first["policies"][str(other)]["kl"]["mean"] > 0


def test_rewards_and_reward_models_judge_problems_held_out(
    run, model_folder: Path, other: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(model_folder)
    scorer = Scorer.from_decoder(load_model(other), "last", seed=1)
    save_scorer(scorer, tmp_path / "rm", tokenizer)
    problems = {"source": "task:addition", "options": {"count": 60}}
    prompts = {"data": [problems], "heldout": {"fraction": 0.2}, "count": 6}
    rewards = {
        "accuracy": {"function": "exact"},
        "numbers": {"function": "regex", "options": {"pattern": "[0-9]"}},
        "learned": {"model": str(tmp_path / "rm")},
    }
    out = run(settings(model_folder, other, prompts, rewards=rewards))
    found = record(out, "evaluation.json")
    assert found["protocol"]["scorers"] == ["length", "fluency", *rewards]
    for sample in found["samples"]:
        assert sample["prompt"].endswith("=") and not sample["continues"]
        for shown in sample["policies"].values():
            scores, written = shown["scores"], shown["completion"]
            assert scores["accuracy"] == 0.0  # the models are untrained
            assert scores["numbers"] == any(c in "0123456789" for c in written)
    learned = [s["policies"][str(other)]["scores"]["learned"] for s in found["samples"]]
    assert len(set(learned)) == 6
    assert record(out, "rows.json")["task:addition"]["kept"] == 60


def test_prompts_that_a_model_trained_on_are_found_in_its_own_data(
    run, model_folder: Path, other: Path, tiny_data: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "chat.jsonl").read_text().splitlines()]
    asked = list(dict.fromkeys(row["messages"][0]["content"] for row in rows))[:3]
    texts = [f"  {asked[0].upper()}", asked[1], "Is this asked anywhere?"]

    def judged(name: str, heldout: dict[str, Any], source: str = "chat.jsonl") -> Any:
        policy = tmp_path / name
        shutil.copytree(other, policy)
        config = {"kind": "sft", "data": [{"source": source}], "heldout": heldout}
        (policy / "accord").mkdir(exist_ok=True)
        (policy / "accord" / "stage.json").write_text(json.dumps({"config": config, "seed": 1}))
        refused = settings(model_folder, policy, {"texts": texts})
        out = run({**refused, "trained_prompts": "report"}, f"{name}-report")
        return record(out, "evaluation.json")["protocol"]["trained_on"].get(str(policy))

    assert judged("leaks", {"fraction": 0}) == {"prompts": 2, "of": 3, "examples": texts[:2]}
    assert judged("held", {"fraction": 0, "prompts": texts}) is None
    assert judged("one", {"fraction": 0, "prompts": asked[:1]})["examples"] == [asked[1]]
    assert "gone.jsonl" in judged("gone", {"fraction": 0}, "gone.jsonl")["unknown"]


def test_prompts_that_a_model_trained_on_are_refused_before_anything_is_sampled(
    run, model_folder: Path, other: Path, tiny_data: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "chat.jsonl").read_text().splitlines()]
    asked = rows[0]["messages"][0]["content"]
    policy = tmp_path / "leaks"
    shutil.copytree(other, policy)
    config = {"kind": "sft", "data": [{"source": "chat.jsonl"}], "heldout": {"fraction": 0}}
    (policy / "accord").mkdir(exist_ok=True)
    (policy / "accord" / "stage.json").write_text(json.dumps({"config": config, "seed": 1}))
    with pytest.raises(AccordError, match="1 of 2 evaluation prompts") as raised:
        run(settings(model_folder, policy, {"texts": [asked, "Is this asked?"]}), "report")
    assert str(policy) in raised.value.what and "trained_prompts: report" in raised.value.fix
