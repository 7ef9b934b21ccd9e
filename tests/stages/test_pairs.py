"""Pairs sampled from models: what is paired, what is left out, and that all of it is counted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from left import make_model, record, write_jsonl

from accord.config.stages import PreferenceStage
from accord.data.account import Account
from accord.data.examples import pair_example
from accord.data.load import Loaded
from accord.errors import AccordError
from accord.stages.context import StageContext
from accord.stages.pairs import load_pairs
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

SHORT = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def other(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with the same tokenizer."""
    texts = (tiny_data / "stories.jsonl").read_text().splitlines()
    return make_model(tmp_path_factory.mktemp("models") / "other", texts, seed=8)


@pytest.fixture
def made(model_folder: Path, tokenizer: Tokenizer, tiny_data: Path, tmp_path: Path) -> Any:
    def make(
        pairs: dict[str, Any], source: str = "chat.jsonl", seed: int = 1, max_length: int = 256
    ) -> Any:
        given = {"from": str(model_folder), "steps": 1, "heldout": {"fraction": 0.2}}
        given["max_length"] = max_length
        data = [{"source": source, "name": "rows"}]
        whole = json.dumps({**given, "data": data, "pairs": {"kind": "sampled", **pairs}})
        config = PreferenceStage.model_validate_json(whole)
        inputs = {name: Path(name) for name in config.inputs()}
        context = StageContext("dpo", tmp_path, inputs, seed, tiny_data)
        account = Account()
        return load_pairs(config, context, lambda: tokenizer, account), account.to_json()["rows"]

    return make


def said(loaded: Loaded, side: str) -> list[str]:
    return [getattr(row, side)[-1].content for row in (*loaded.train, *loaded.heldout)]


def test_the_data_answers_for_the_chosen_side(made, model_folder: Path, tiny_data: Path) -> None:
    loaded, entry = made({"rejected": str(model_folder), "rejected_sampling": SHORT})
    lines = [json.loads(line) for line in (tiny_data / "chat.jsonl").read_text().splitlines()]
    answers = {line["messages"][-1]["content"] for line in lines}
    assert set(said(loaded, "chosen")) <= answers
    assert not set(said(loaded, "rejected")) & answers
    assert len(loaded.train) + len(loaded.heldout) <= entry["kept"]
    assert entry["kept"] + sum(entry["dropped"].values()) == len(lines)
    assert 5 <= len(loaded.heldout) < len(loaded.train)
    for row in (*loaded.train, *loaded.heldout):
        assert row.rejected[-1].role == "assistant"
        assert "chat.jsonl:" in row.where


def test_a_row_gets_the_same_answer_whatever_other_rows_there_are(
    made, model_folder: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pairs = {"rejected": str(model_folder), "rejected_sampling": SHORT}
    all_of_them, _ = made(pairs)
    again, _ = made(pairs)
    other_seed, _ = made(pairs, seed=2)
    lines = (tiny_data / "chat.jsonl").read_text().splitlines()
    file = write_jsonl(tmp_path / "few.jsonl", [json.loads(line) for line in lines[::-3]])
    some, _ = made(pairs, source=str(file))
    answers = {row.chosen: row.rejected for row in (*all_of_them.train, *all_of_them.heldout)}
    assert len(some.train) > 10
    assert all(row.rejected == answers[row.chosen] for row in (*some.train, *some.heldout))
    assert said(again, "rejected") == said(all_of_them, "rejected")
    assert said(other_seed, "rejected") != said(all_of_them, "rejected")


def test_identical_sides_are_dropped_and_counted(made, model_folder: Path) -> None:
    """Both sides greedy from one model: every pair is two equal answers."""
    greedy = {"temperature": 0, **SHORT}
    sides = {"chosen": str(model_folder), "rejected": str(model_folder)}
    with pytest.raises(AccordError, match="No sampled pair is left") as caught:
        made({**sides, "rejected_sampling": greedy, "chosen_sampling": greedy})
    assert "chosen and rejected are the same" in caught.value.fix


def test_two_models_answer_both_sides(made, model_folder: Path, other: Path) -> None:
    greedy = {"temperature": 0, **SHORT}
    sides = {"chosen": str(other), "rejected": str(model_folder)}
    loaded, _ = made({**sides, "rejected_sampling": greedy, "chosen_sampling": greedy})
    assert said(loaded, "chosen") != said(loaded, "rejected")
    swapped, _ = made(
        {
            "chosen": str(model_folder),
            "rejected": str(other),
            "rejected_sampling": greedy,
            "chosen_sampling": greedy,
        }
    )
    assert said(swapped, "chosen") == said(loaded, "rejected")


def test_plain_texts_are_answered_from_the_start_token(made, model_folder: Path) -> None:
    loaded, _ = made({"rejected": str(model_folder), "rejected_sampling": SHORT}, "stories.jsonl")
    assert all(row.prompt == () for row in loaded.train)
    assert all(row.rejected == (Message("text", row.rejected[0].content),) for row in loaded.train)


def test_prompts_without_room_for_an_answer_are_counted(made, model_folder: Path) -> None:
    pairs = {"rejected": str(model_folder), "rejected_sampling": SHORT}
    roomy, all_of_them = made(pairs)
    cramped, entry = made(pairs, max_length=120)
    assert 0 < len(cramped.train) < len(roomy.train)
    dropped = entry["dropped"]["no response token within 120 tokens"]
    assert entry["kept"] + dropped == all_of_them["kept"]


def test_the_stage_trains_on_them(run, model_folder: Path) -> None:
    out = run(
        {
            "kind": "preference",
            "from": str(model_folder),
            "data": [{"source": "chat.jsonl", "name": "rows"}],
            "pairs": {
                "kind": "sampled",
                "rejected": str(model_folder),
                "rejected_sampling": SHORT,
            },
            "steps": 2,
            "batch_size": 4,
            "max_length": 256,
        }
    )
    entry = record(out, "rows.json")["rows"]
    assert entry["kept"] + sum(entry["dropped"].values()) == 80


def test_an_answer_that_was_cut_off_has_no_end_to_be_learnt(
    made, model_folder: Path, tokenizer: Tokenizer
) -> None:
    loaded, entry = made({"rejected": str(model_folder), "rejected_sampling": SHORT})
    cut = [row for row in (*loaded.train, *loaded.heldout) if row.cut_off[1]]
    assert cut and not any(row.cut_off[0] for row in cut)
    noted = entry["notes"]["sampled responses cut off at max_new_tokens: no end to be learnt"]
    assert noted == sum(row.cut_off[1] for row in loaded.train)
    for row in cut:
        chosen, rejected = pair_example(row, tokenizer, None).responses
        whole = pair_example(replace(row, cut_off=(False, False)), tokenizer, None).responses
        assert chosen == whole[0]
        assert rejected.ids == whole[1].ids[: len(rejected.ids)] and all(rejected.mask)
        closed = [i for i, scored in zip(whole[1].ids, whole[1].mask, strict=True) if scored]
        assert list(rejected.ids) == closed[:-1]
        assert closed[-1] == tokenizer.token_id("<|im_end|>")
