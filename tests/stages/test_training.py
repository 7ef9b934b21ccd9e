"""The trained stages: who is held out, what accumulation changes, what the row account says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from left import log, record, weights, write_jsonl

from accord.config.data import HeldoutConfig
from accord.data.rows import TextRow
from accord.data.split import is_heldout
from accord.errors import AccordError
from accord.stages import preference, training
from accord.text.tokenizer import Tokenizer

HELDOUT = {"fraction": 0.2}
REVIEWS = [{"source": "reviews.tsv", "name": "reviews"}]
COMMON = {"heldout": HELDOUT, "steps": 3, "batch_size": 8, "max_length": 128, "lr": 1e-3}


def settings(kind: str, model: Path, **others: Any) -> dict[str, Any]:
    sources = {"preference": "preferences.jsonl", "sft": "chat.jsonl", "pretrain": "stories.jsonl"}
    data = [{"source": sources[kind], "name": "rows"}]
    return {"kind": kind, "from": str(model), "data": data, **COMMON, **others}


@dataclass
class Seen:
    """What a stage hands to the loop: token ids of what it trains on and of what it watches."""

    trained: list[list[int]]
    watched: list[list[int]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen([], [])

    def whole(example: Any) -> list[list[int]]:
        return [[*example.prompt, *response.ids] for response in example.responses]

    fitting = training.fit

    def fit(model: Any, step: Any, source: Any, held: Any, *rest: Any) -> Any:
        if hasattr(source, "blocks"):
            found.trained.append(source.blocks.tokens.tolist())
        else:
            found.trained += [ids for example in source.examples for ids in whole(example)]
        found.watched += [ids for example in held.examples for ids in whole(example)]
        return fitting(model, step, source, held, *rest)

    for module in (training, preference):
        monkeypatch.setattr(module, "fit", fit)
    return found


@pytest.mark.parametrize("kind", ["pretrain", "sft", "preference"])
def test_the_same_texts_are_held_out_of_every_stage(
    run, model_folder: Path, tiny_data: Path, tokenizer: Tokenizer, seen: Seen, kind: str
) -> None:
    lines = (tiny_data / "reviews.tsv").read_text().splitlines()[1:]
    texts = {line.split("\t")[2] for line in lines}
    held = {t for t in texts if is_heldout(TextRow(text=t), HeldoutConfig(fraction=0.2))}
    assert 20 < len(held) < 80
    pairs = {"pairs": {"kind": "rated", "gap": 2}} if kind == "preference" else {}
    run(settings(kind, model_folder, data=REVIEWS, eval_rows=1000, **pairs))
    trained = "\n".join(tokenizer.decode(ids) for ids in seen.trained)
    watched = "\n".join(tokenizer.decode(ids) for ids in seen.watched)
    assert not [text for text in held if text in trained]
    assert not [text for text in texts - held if text in watched]
    most = 0.5 if kind == "preference" else 1  # a text without a partner is in no pair
    assert sum(text in trained for text in texts - held) >= most * len(texts - held)
    assert sum(text in watched for text in held) >= most * len(held)


KTO = {"loss": "kto", "beta": 0.01}


@pytest.mark.parametrize(
    ("kind", "own"),
    [("pretrain", {}), ("sft", {}), ("preference", {}), ("preference", KTO)],
    ids=["pretrain", "sft", "preference", "kto"],
)
@pytest.mark.parametrize(
    "split", [{"micro_batch_size": 1}, {"micro_batch_size": 3}, {"micro_batch_tokens": 300}]
)
def test_accumulation_changes_nothing(
    run, model_folder: Path, kind: str, own: dict[str, Any], split: dict[str, int]
) -> None:
    # a large eps: where a gradient vanishes, Adam would divide its rounding by itself
    tame = {"eps": 1e-2, "lr": 1e-2, **own}
    whole = run(settings(kind, model_folder, **tame), "whole")
    parts = run(settings(kind, model_folder, **tame, **split), "parts")
    for one, other in zip(log(whole), log(parts), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)
    expected, start = weights(whole), weights(model_folder)
    for name, weight in weights(parts).items():
        assert (weight - expected[name]).abs().max() <= 1e-6, name
        assert (weight - start[name]).abs().max() > 1e-4, name


@pytest.mark.parametrize("kind", ["pretrain", "sft", "preference"])
def test_rows_are_kept_or_counted(run, model_folder: Path, tiny_data: Path, kind: str) -> None:
    chosen = settings(kind, model_folder, max_length=100)
    entry = record(run(chosen), "rows.json")["rows"]
    lines = (tiny_data / chosen["data"][0]["source"]).read_text().splitlines()
    assert entry["kept"] + sum(entry["dropped"].values()) == len(lines)
    if kind == "preference":
        assert entry["dropped"]["chosen and rejected are identical"] == 1
    if kind != "pretrain":
        assert 0 < entry["truncated"]["longer than 100 tokens"] < entry["kept"]


@pytest.mark.parametrize("kind", ["sft", "preference"])
def test_no_room_for_any_response_is_an_error(run, model_folder: Path, kind: str) -> None:
    with pytest.raises(AccordError, match=r"None of \d+ rows has a response token") as caught:
        run(settings(kind, model_folder, max_length=8))
    assert caught.value.lines()[1] == f"  where: stages.{kind}.max_length"


def test_less_text_than_a_block_is_an_error(run, model_folder: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "few.jsonl", [{"text": "A fox."}, {"text": "A crow."}])
    few = [{"source": str(file)}]
    with pytest.raises(AccordError, match=r"\d tokens, less than a block of 128"):
        run(settings("pretrain", model_folder, data=few, heldout={"fraction": 0}))


def test_pretraining_reports_bits_per_byte_by_source(run, model_folder: Path) -> None:
    data = [*REVIEWS, {"source": "stories.jsonl", "name": "stories"}]
    found = record(run(settings("pretrain", model_folder, data=data)), "heldout.json")
    assert set(found) == {"reviews", "stories", "overall"}
    size = {name: found[name]["bytes"] for name in found}
    assert size["overall"] == size["reviews"] + size["stories"]
    assert all(0 < part["bits_per_byte"] < 12 for part in found.values())


def test_a_chat_template_of_its_own_ends_turns_for_other_software_too(
    run, model_folder: Path
) -> None:
    out = run(settings("sft", model_folder, chat_template="chatml"))
    tokenizer = Tokenizer.load(out)
    assert tokenizer.end_token == "<|im_end|>"
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.end_id


def test_without_one_generation_stops_at_a_turn_s_end_as_well(
    run, model_folder: Path, tokenizer: Tokenizer
) -> None:
    out = run(settings("sft", model_folder))
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [tokenizer.end_id, tokenizer.token_id("<|im_end|>")]
