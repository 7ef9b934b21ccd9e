"""The preference stage: which losses see what, before the first step and after."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from left import log, record, weights, write_jsonl
from pydantic import ValidationError

from accord.checkpoint.folder import load_model
from accord.config.preference import FREE, PreferenceStage
from accord.data.order import Order
from accord.data.packing import Example, Response
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.stages.labels import Baseline, LabelSource, mismatched
from accord.stages.reference import Reference
from accord.stages.sources import ExampleSource
from accord.stages.synced import SyncedReference, Watched
from accord.text.tokenizer import Tokenizer

COMMON = {"heldout": {"fraction": 0.2}, "steps": 3, "batch_size": 8, "max_length": 128, "lr": 1e-3}


def settings(model: Path, **others: Any) -> dict[str, Any]:
    data = [{"source": "preferences.jsonl", "name": "rows"}]
    return {"kind": "preference", "from": str(model), "data": data, **COMMON, **others}


@pytest.mark.parametrize(
    ("loss", "others", "first"),
    [
        ("sigmoid", {}, np.log(2)),
        ("sigmoid_norm", {}, np.log(2)),
        ("hinge", {}, 1.0),
        ("apo_zero", {}, 1.0),
        ("kto", {}, 0.5),
        ({"sigmoid": 1.0, "apo_zero": 2.0}, {}, np.log(2) + 2),
        ("sigmoid", {"ld_alpha": 0.3}, np.log(2)),
        ("sigmoid", {"micro_batch_tokens": 200}, np.log(2)),
        ("sigmoid", {"sync_ref_model": True}, np.log(2)),
    ],
)
def test_the_loss_starts_where_policy_and_reference_are_one(
    run, model_folder: Path, loss: Any, others: dict[str, Any], first: float
) -> None:
    lines = log(run(settings(model_folder, loss=loss, **others)))
    assert lines[0]["loss"] == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize("loss", sorted(FREE))
def test_a_loss_without_reference_computes_none(run, model_folder: Path, loss: str) -> None:
    folder = run(settings(model_folder, loss=loss))
    assert not (folder / "accord" / "reference").exists()
    assert all(np.isfinite(line["loss"]) for line in log(folder))
    start, trained = weights(model_folder), weights(folder)
    assert any(not torch.equal(trained[name], start[name]) for name in start)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"loss": "simpo", "sync_ref_model": True}, "sync_ref_model is not for simpo"),
        ({"loss": "aot", "micro_batch_size": 2}, "aot sorts all pairs of a step"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing has no effect on hinge"),
        ({"loss": "robust"}, "robust needs label_smoothing above 0"),
        ({"loss": "sigmoid", "desirable_weight": 2}, "are for loss: kto"),
        ({"loss": "kto", "pairs": {"kind": "rated"}}, "kto takes no pairs"),
        ({"loss": {}}, "names no loss"),
        ({"micro_batch_size": 2, "micro_batch_tokens": 64}, "not both"),
    ],
)
def test_settings_without_effect_are_refused(others: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PreferenceStage.model_validate(settings(Path("start")) | others)


def test_weights_below_one_weaken_the_step(run, model_folder: Path) -> None:
    norms = {
        weighting: log(run(settings(model_folder, weighting=weighting), weighting))[0]["grad_norm"]
        for weighting in ("none", "wpo", "wpo_aligned")
    }
    assert 0 < norms["wpo"] < norms["wpo_aligned"]
    assert norms["wpo"] < norms["none"]


def test_metrics_are_kept_apart_by_source_and_language(
    run, model_folder: Path, tiny_data: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "preferences.jsonl").read_text().splitlines()]
    half = len(rows) // 2
    sources = [
        {"source": str(write_jsonl(tmp_path / f"{name}.jsonl", part)), "name": name, "language": l}
        for name, part, l in (("one", rows[:half], "en"), ("two", rows[half:], "ko"))
    ]
    folder = run(settings(model_folder, data=sources, steps=4))
    last = log(folder)[-1]
    for kind, names in (("source", ("one", "two")), ("language", ("en", "ko"))):
        for metric in ("rewards/margins", "rewards/accuracies", "loss"):
            assert {f"eval_{metric}/{kind}:{name}" for name in names} <= last.keys()
    # the rows of a source have its language, so the two ways of telling them apart agree
    assert last["eval_loss/source:one"] == last["eval_loss/language:en"]
    assert min(last["eval_loss/source:one"], last["eval_loss/source:two"]) < last["eval_loss"]
    assert max(last["eval_loss/source:one"], last["eval_loss/source:two"]) > last["eval_loss"]
    counts = record(folder, "rows.json")
    assert counts["one"]["kept"] + counts["two"]["kept"] > 0.9 * len(rows)
    alone = log(run(settings(model_folder), "alone"))[-1]
    assert not any(":" in name for name in alone)


def test_only_labels_that_differ_can_be_told_apart(run, model_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{i}", "completion": f"answer {i}", "label": True} for i in range(20)]
    source = {"source": str(write_jsonl(tmp_path / "wanted.jsonl", rows))}
    with pytest.raises(AccordError, match=r"All \d+ answers are wanted"):
        run(settings(model_folder, loss="kto", data=[source]))


def test_pairs_are_an_answer_that_is_wanted_and_one_that_is_not(run, model_folder: Path) -> None:
    folder = run(settings(model_folder, loss="kto"))
    notes = record(folder, "rows.json")["rows"]["notes"]
    kept = record(folder, "rows.json")["rows"]["kept"] - notes["held out (among the kept)"]
    assert notes["pairs taken apart, each a wanted and an unwanted answer"] == kept
    line = log(folder)[-1]
    assert {"kl", "rewards/chosen", "rewards/rejected", "eval_kl"} <= line.keys()
    apart = line["eval_rewards/chosen"] - line["eval_rewards/rejected"]
    assert line["eval_rewards/margins"] == pytest.approx(apart)
    assert line["kl"] >= 0


def example(prompt: int, answer: int) -> Example:
    return Example((prompt,), (Response((answer, 1), (True, True)),), str(prompt), label=True)


def test_each_answer_stands_once_for_another_prompt() -> None:
    rows = [example(10 + i, 50 + i) for i in range(9)]
    found = mismatched(rows, 16, seed=4)
    assert sorted(row.responses[0].ids[0] for row in found) == [50 + i for i in range(9)]
    for row, strange in zip(rows, found, strict=True):
        assert strange.prompt == row.prompt and strange.label is None
        assert strange.responses != row.responses
    assert mismatched(rows, 16, seed=4) == found != mismatched(rows, 16, seed=5)


def test_z0_is_never_below_zero() -> None:
    rows = [example(10 + i, 50 + i) for i in range(4)]
    source = ExampleSource(rows, Order(4, 2, 1), 1)
    baseline = Baseline()
    told = LabelSource(source, source, baseline)
    for total, expected in ((3.0, 1.5), (-3.0, 0.0)):
        told.learn({"kl": (total, 2.0)})
        assert baseline.kl == expected


def test_z0_is_the_mean_over_the_whole_step(run, model_folder: Path) -> None:
    """Two steps: the second's KL, from the weights after the first."""
    folder = run(settings(model_folder, loss="kto", beta=0.02, steps=2, lr=3e-2, save_every=1))
    logged = [line["kl"] for line in log(folder)]
    assert logged[0] == pytest.approx(0, abs=1e-5)
    assert logged[1] > 0.05
    split = run(
        settings(model_folder, loss="kto", beta=0.02, steps=2, lr=3e-2, micro_batch_size=1), "b"
    )
    assert log(split)[1]["kl"] == pytest.approx(logged[1], rel=1e-3)


def pair(number: int) -> Example:
    generator = np.random.default_rng(number)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(generator.integers(0, 250, count).tolist())

    sides = tuple(Response(ids(5), (True,) * 5) for _ in range(2))
    return Example(ids(3), sides, str(number))


def test_the_reference_moves_as_stated_and_is_resumed(model_folder: Path) -> None:
    examples = [pair(number) for number in range(6)]
    source = ExampleSource(examples, Order(6, 2, 1), 7)
    policies = {step: moved(load_model(model_folder), step) for step in range(7)}

    def synced() -> tuple[SyncedReference, Watched]:
        watched = Watched(examples[:2], 2)
        reference = Reference(load_model(model_folder), "m")
        return SyncedReference(source, watched, reference, 3, 0.25), watched

    whole, watched = synced()
    twin = dict(load_model(model_folder).state_dict())
    for step in range(7):
        whole.fill(step, lambda at=step: policies[at].state_dict())
        if step in (3, 6):
            now = policies[step].state_dict()
            twin = {name: 0.25 * now[name] + 0.75 * weight for name, weight in twin.items()}
        expected = Reference(loaded(twin, model_folder), "m").in_memory(
            [replace(row, reference=None) for row in whole.rows(step)]
        )
        for one, other in zip(whole.rows(step), expected, strict=True):
            assert one.reference == pytest.approx(other.reference, abs=1e-4)
        if step == 4:
            kept = {name: tensor.clone() for name, tensor in whole.state().items()}
    resumed, again = synced()
    resumed.load(kept)
    for step in (5, 6):
        resumed.fill(step, lambda at=step: policies[at].state_dict())
    assert resumed.rows(6) == whole.rows(6)
    assert again.rows(0) == watched.rows(0)


def moved(model: Decoder, step: int) -> Decoder:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * step * torch.randn(weight.shape, generator=generator))
    return model


def loaded(state: dict[str, torch.Tensor], folder: Path) -> Decoder:
    model = load_model(folder)
    model.load_state_dict(state)
    return model


def test_a_moving_reference_changes_what_is_learnt_after_it_moved(run, model_folder: Path) -> None:
    chosen = settings(model_folder, steps=4, lr=1e-2)
    frozen = log(run(chosen, "frozen"))
    synced = log(run(chosen | {"sync_ref_model": True, "ref_model_sync_steps": 2}, "synced"))
    assert [line["loss"] for line in synced[:2]] == [line["loss"] for line in frozen[:2]]
    assert abs(synced[2]["rewards/chosen"]) < abs(frozen[2]["rewards/chosen"])


@pytest.mark.parametrize("train_on", ["last", "all"])
def test_turns_that_carry_loss(
    run, model_folder: Path, tokenizer: Tokenizer, tmp_path: Path, train_on: str
) -> None:
    def turns(first: str, last: str) -> list[dict[str, str]]:
        said = (("user", "Hi"), ("assistant", first), ("user", "And?"), ("assistant", last))
        return [{"role": role, "content": words} for role, words in said]

    rows = [
        {"chosen": turns(f"yes {i}", "fine"), "rejected": turns(f"no {i}", "bad")}
        for i in range(30)
    ]
    source = {"source": str(write_jsonl(tmp_path / "turns.jsonl", rows))}
    whole = {"heldout": {"fraction": 0}, "batch_size": 30, "steps": 1, "loss": "sft"}
    folder = run(settings(model_folder, data=[source], train_on=train_on, **whole))
    model, losses = load_model(model_folder), []
    for number in range(30):
        ids, mask = ids_of(tokenizer, f"yes {number}", "fine", train_on)
        logps = F.log_softmax(model_logits(model, ids), -1)[:-1]
        own = logps[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        losses.append(-float(own[torch.tensor(mask[1:])].mean()))
    assert log(folder)[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def ids_of(
    tokenizer: Tokenizer, first: str, last: str, train_on: Any
) -> tuple[list[int], list[bool]]:
    from accord.text.chat import render
    from accord.text.messages import Message

    said = (("user", "Hi"), ("assistant", first), ("user", "And?"), ("assistant", last))
    found = render([Message(*turn) for turn in said], tokenizer, None, train_on)
    return found.ids, found.mask


def model_logits(model: Decoder, ids: list[int]) -> torch.Tensor:
    from accord.model.plan import Plan

    with torch.no_grad():
        hidden = model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))
        return model.logits(hidden)


def test_a_continued_adapter_starts_from_itself_not_from_its_base(run, model_folder: Path) -> None:
    lora = {"r": 4, "lora_alpha": 8}
    first = run(settings(model_folder, lora=lora, lr=3e-2), "first")
    assert (first / "adapter_config.json").is_file()
    assert not (first / "model.safetensors").exists()
    assert log(first)[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    on = run(settings(first, lora=lora, lr=3e-2), "on")
    assert log(on)[0]["loss"] == pytest.approx(np.log(2), abs=1e-4)
    # against the base the margin would be the one that the first run has reached
    assert abs(log(first)[-1]["rewards/margins"]) > 0.01
    whole = run(settings(first), "whole")
    assert (whole / "model.safetensors").is_file()
    assert log(whole)[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)


def test_what_would_spoil_training_is_said_before_it(
    run, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pydantic import TypeAdapter
    from rich.console import Console

    from accord.config.stages import StageConfig
    from accord.stages import preference
    from accord.stages.context import StageContext

    rows = [
        {
            "prompt": f"question {i}?",
            "chosen": "a much longer answer " * (2 + i % 3),
            "rejected": "no",
        }
        for i in range(60)
    ]
    source = {"source": str(write_jsonl(tmp_path / "long.jsonl", rows))}
    chosen = settings(model_folder, data=[source], steps=1)
    config: Any = TypeAdapter(StageConfig).validate_json(json.dumps(chosen))
    inputs = {name: Path(name) for name in config.inputs()}
    (tmp_path / "out").mkdir()
    console = Console(width=200)
    preference.run(
        config, StageContext("preference", tmp_path / "out", inputs, 1, tmp_path, console)
    )
    assert "longer" in capsys.readouterr().out
