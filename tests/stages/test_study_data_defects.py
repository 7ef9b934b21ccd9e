"""What the RLHF study that Accord reproduces got wrong with its data: planted, and caught.

A check is a function that asserts what has to hold. It passes on the product and fails where the
mistake is put into it: a check that cannot fail would show nothing. docs/study-defects.md says
which test stands for which mistake.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from left import record, write_jsonl

from accord.data.examples import pair_example
from accord.data.packing import Example, Response
from accord.data.rows import PairRow
from accord.errors import AccordError
from accord.stages import preference, reward, sources
from accord.text.chat import stop_ids
from accord.text.tokenizer import Tokenizer

TRAINING = {"batch_size": 4, "steps": 4, "max_length": 128, "lr": 1e-3}
ASKED = ["What is the capital of France?", "Name a warm colour."]


def examples_of(source: type, monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """Collects every example that a source hands to training."""
    seen: list[Example] = []
    original = source.collate

    def collate(self: Any, rows: Any) -> Any:
        seen.extend(rows)
        return original(self, rows)

    monkeypatch.setattr(source, "collate", collate)
    return seen


def text_of(example: Example, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode((*example.prompt, *r.ids)) for r in example.responses]


# SFT trained on the evaluation prompts


def chats(tmp_path: Path) -> dict[str, Any]:
    rows = [{"prompt": f"Say {i}.", "completion": f"It is {i}."} for i in range(12)]
    rows += [{"prompt": prompt, "completion": "Red, or Paris."} for prompt in ASKED]
    return {"source": str(write_jsonl(tmp_path / "chats.jsonl", rows)), "name": "chats"}


def none_is_asked(trained: list[Example], tokenizer: Tokenizer) -> None:
    assert len(trained) >= 12
    for example in trained:
        assert not any(prompt in text_of(example, tokenizer)[0] for prompt in ASKED)


def test_sft_never_sees_the_evaluation_prompts(
    run, model_folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch
) -> None:
    given = {"kind": "sft", "from": str(model_folder), "data": [chats(tmp_path)], **TRAINING}
    given |= {"epochs": 3}
    del given["steps"]
    trained = examples_of(sources.ExampleSource, monkeypatch)
    out = run({**given, "heldout": {"fraction": 0, "prompts": ASKED}}, "held")
    none_is_asked(trained, tokenizer)
    assert record(out, "heldout.json")["overall"]["rows"] == len(ASKED)
    trained.clear()
    run({**given, "heldout": {"fraction": 0}}, "planted")
    with pytest.raises(AssertionError):
        none_is_asked(trained, tokenizer)


# Reward model trained on pairs with empty prompts


def pairs(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {"prompt": f"Ask {i}?", "chosen": f"Yes, {i}.", "rejected": f"No, {i + 1}."}
        for i in range(16)
    ]
    return {"source": str(write_jsonl(tmp_path / "pairs.jsonl", rows)), "name": "pairs"}


def prompts_are_read(trained: list[Example], tokenizer: Tokenizer) -> None:
    assert len(trained) >= 16
    for example in trained:
        assert "Ask" in tokenizer.decode(example.prompt)
        batch = reward.collate_scored([example], "last")
        text = tokenizer.decode(batch.ids_N.tolist())
        assert text.count("Ask") == 1  # once for both: the responses share it
        assert "Yes" in text
        assert "No" in text


def test_the_reward_model_reads_the_prompt(
    run, model_folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch
) -> None:
    given = {"kind": "reward", "from": str(model_folder), "data": [pairs(tmp_path)], **TRAINING}
    given |= {"heldout": {"fraction": 0}, "baseline": False}
    trained = examples_of(reward.PairSource, monkeypatch)
    run(given, "read")
    prompts_are_read(trained, tokenizer)
    trained.clear()

    def forgotten(row: PairRow, *others: Any) -> Example:
        example = pair_example(row, *others)
        return replace(example, prompt=(tokenizer.start_id,))

    monkeypatch.setattr("accord.stages.comparisons.pair_example", forgotten)
    run(given, "planted")
    with pytest.raises(AssertionError):
        prompts_are_read(trained, tokenizer)


@pytest.mark.parametrize("empty", ["", "  ", [], [{"role": "user", "content": ""}]], ids=str)
def test_a_pair_with_an_empty_prompt_is_refused_by_its_place(
    empty: Any, run, model_folder: Path, tmp_path: Path
) -> None:
    row = {"prompt": empty, "chosen": "Yes.", "rejected": "No."}
    if isinstance(empty, list):
        row |= {k: [{"role": "assistant", "content": row[k]}] for k in ("chosen", "rejected")}
    file = write_jsonl(tmp_path / "empty.jsonl", [row])
    given = {"kind": "reward", "from": str(model_folder), "baseline": False, **TRAINING}
    with pytest.raises(AccordError, match=r"'prompt' is empty(.|\n)*empty\.jsonl:1"):
        run({**given, "data": [{"source": str(file)}]})


def test_pairs_with_an_empty_prompt_are_counted_where_asked(
    run, model_folder: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Ask {i}?", "chosen": "Yes.", "rejected": f"No, {i}."} for i in range(200)]
    rows[7]["prompt"] = ""
    file = write_jsonl(tmp_path / "some.jsonl", rows)
    given = {"kind": "reward", "from": str(model_folder), "baseline": False, **TRAINING}
    source = {"source": str(file), "name": "some", "on_bad_row": "skip"}
    out = run({**given, "data": [source], "heldout": {"fraction": 0}})
    account = record(out, "rows.json")["some"]
    assert account["kept"] == 199
    assert sum(account["dropped"].values()) == 1


# DPO pairs with chosen == rejected


def sides_differ(trained: list[Example]) -> None:
    assert len(trained) >= 12
    assert all(example.responses[0].ids != example.responses[1].ids for example in trained)


def test_dpo_never_trains_on_equal_sides(
    run, model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    rows = [
        {"prompt": f"Ask {i}?", "chosen": "Yes.", "rejected": "Yes." if i % 3 == 0 else "No."}
        for i in range(18)
    ]
    file = write_jsonl(tmp_path / "pairs.jsonl", rows)
    given = {"kind": "preference", "from": str(model_folder), **TRAINING}
    given |= {"data": [{"source": str(file), "name": "pairs"}], "heldout": {"fraction": 0}}
    trained = examples_of(sources.ExampleSource, monkeypatch)
    out = run(given, "right")
    sides_differ(trained)
    account = record(out, "rows.json")["pairs"]
    assert account["kept"] == 12
    assert account["dropped"] == {"chosen and rejected are identical": 6}
    trained.clear()
    make_sides_equal(monkeypatch)
    run(given, "planted")
    with pytest.raises(AssertionError):
        sides_differ(trained)


def make_sides_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rejected side becomes the chosen one after rows are read."""

    def equal(row: PairRow, *others: Any) -> Example:
        example = pair_example(row, *others)
        first = example.responses[0]
        return replace(example, responses=(first, first))

    monkeypatch.setattr(preference, "pair_example", equal)


# End token missing from responses


def responses_end(trained: list[Example], tokenizer: Tokenizer) -> None:
    ends = stop_ids(tokenizer)
    assert len(trained) >= 12
    for example in trained:
        for response in example.responses:
            scored = [i for i, on in zip(response.ids, response.mask, strict=True) if on]
            assert scored[-1] in ends


@pytest.mark.parametrize("kind", ["sft", "preference", "reward"])
def test_every_response_trains_its_end(
    kind: str, run, model_folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch
) -> None:
    data = [chats(tmp_path) if kind == "sft" else pairs(tmp_path)]
    given = {"kind": kind, "from": str(model_folder), "data": data, **TRAINING}
    given |= {"heldout": {"fraction": 0}} | ({"baseline": False} if kind == "reward" else {})
    source = reward.PairSource if kind == "reward" else sources.ExampleSource
    trained = examples_of(source, monkeypatch)
    run(given)
    responses_end(trained, tokenizer)
    with pytest.raises(AssertionError):
        responses_end([_without_end(example) for example in trained], tokenizer)


def _without_end(example: Example) -> Example:
    ends = [max(i for i, on in enumerate(r.mask) if on) for r in example.responses]
    cut = (Response(r.ids[:e], r.mask[:e]) for r, e in zip(example.responses, ends, strict=True))
    return replace(example, responses=tuple(cut))
