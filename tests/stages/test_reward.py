"""Reward models as stages: what they learn, log and leave, and what changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from left import log, record, weights, write_jsonl

from accord.checkpoint.folder import load_model
from accord.checkpoint.scorer_folder import load_scorer
from accord.config.data import HeldoutConfig
from accord.data.packing import Example, Response
from accord.data.rows import TextRow
from accord.data.scoring import collate_scored
from accord.data.split import is_heldout
from accord.errors import AccordError
from accord.stages import preference, reward
from accord.text.tokenizer import Tokenizer

COMMON: dict[str, Any] = {
    "kind": "reward",
    "heldout": {"fraction": 0.2},
    "steps": 3,
    "batch_size": 4,
    "max_length": 128,
    "lr": 1e-3,
    "baseline": False,
}
PREFERENCES = {"data": [{"source": "preferences.jsonl", "name": "rows"}]}
REVIEWS = {"data": [{"source": "reviews.tsv", "name": "reviews"}]}
MADE: dict[str, dict[str, Any]] = {
    "data": {**PREFERENCES, "centering": 0.01},
    "rated": {**REVIEWS, "pairs": {"kind": "rated", "gap": 2}},
    "groups": {**REVIEWS, "pairs": {"kind": "groups", "gap": 2, "size": 5, "regression": 0.5}},
}


def settings(made: str, model: Path, **others: Any) -> dict[str, Any]:
    return {**COMMON, "from": str(model), **MADE[made], **others}


@pytest.mark.parametrize("architecture", ["causal", "bidirectional"])
@pytest.mark.parametrize("made", MADE)
def test_accumulation_changes_nothing(
    run, model_folder: Path, made: str, architecture: str
) -> None:
    # a large eps: where a gradient vanishes, Adam would divide its rounding by itself
    tame = {"eps": 1e-2, "lr": 1e-2, "architecture": architecture}
    whole = run(settings(made, model_folder, **tame), "whole")
    parts = run(settings(made, model_folder, micro_batch_size=3, **tame), "parts")
    for one, other in zip(log(whole), log(parts), strict=True):
        for name in ("loss", "accuracy", "margin", "mean_reward", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    expected = weights(whole)
    for name, weight in weights(parts).items():
        assert (weight - expected[name]).abs().max() <= 2e-6, name
    assert load_scorer(whole).pooling == ("last" if architecture == "causal" else "mean")
    with pytest.raises(AccordError, match="reward model"):
        load_model(whole)


@pytest.mark.parametrize("architecture", ["causal", "bidirectional"])
def test_it_learns_what_people_rated_higher(
    run, model_folder: Path, tokenizer: Tokenizer, architecture: str
) -> None:
    chosen = settings("groups", model_folder, architecture=architecture, baseline=True)
    folder = run(chosen | {"steps": 100, "lr": 1e-2, "warmup_steps": 5})
    found, last = record(folder, "heldout.json"), log(folder)[-1]
    assert found["accuracy"] > 0.85 and found["ci95"][0] > 0.75
    assert found["rating_correlation"] > 0.7
    assert 0.5 < found["baseline"]["accuracy"] <= 1
    assert found["baseline"]["name"] == "TF-IDF ridge"
    assert found["rating_scale"]["std"] > 1
    assert last["eval_accuracy"] == pytest.approx(found["accuracy"], abs=0.03)
    assert {"eval_margin", "eval_mean_reward", "eval_reward_std", "eval_length_correlation"} < set(
        last
    )
    assert log(folder)[0]["loss"] > last["loss"]
    assert {"accuracy", "margin", "rating_mse", "groups_per_second"} < set(last)
    assert not [name for line in log(folder) for name in line if name.startswith("_")]
    # the folder's score is the one that was measured: better words, higher score
    scorer = load_scorer(folder)

    def score(text: str) -> float:
        ids = (*tokenizer.encode(text), tokenizer.end_id)
        example = Example((tokenizer.start_id,), (Response(ids, (True,) * len(ids)),))
        return scorer(collate_scored([example], scorer.pooling)).item()

    good = score("A warm film with a lovely story and a gentle cast, made by Ana.")
    assert good > score("A dull film with a grim story and a bland cast, made by Ana.")


@pytest.mark.parametrize("made", ["data", "groups"])
def test_what_is_logged_on_the_way_is_what_is_found_at_the_end(
    run, model_folder: Path, made: str
) -> None:
    folder = run(settings(made, model_folder, eval_rows=10_000, micro_batch_size=3))
    found, last = record(folder, "heldout.json"), log(folder)[-1]
    for name in ("accuracy", "margin", "ece"):
        assert last[f"eval_{name}"] == pytest.approx(found[name], abs=1e-4), name
    for bucket in found["by_length"]:
        assert last[f"eval_accuracy/{bucket['bucket']}"] == pytest.approx(bucket["accuracy"])
    assert sum(bucket["pairs"] for bucket in found["by_length"]) == found["pairs"]
    assert sum(part["pairs"] for part in found["calibration"]) == found["pairs"]


@pytest.mark.parametrize("made", ["rated", "groups"])
def test_held_out_pairs_are_those_of_the_preference_stage(
    run, model_folder: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    seen: dict[str, list[Example]] = {}

    def keep_watched(model: Any, step: Any, source: Any, held: Any, *rest: Any):
        seen["preference"] = list(held.examples)
        return fit(model, step, source, held, *rest)

    fit = preference.fit
    monkeypatch.setattr(preference, "fit", keep_watched)
    pairs = {"kind": "rated", "gap": 1.5}
    many = {"eval_rows": 10_000}
    chosen = settings("rated", model_folder, kind="preference", pairs=pairs, **many)
    run({key: value for key, value in chosen.items() if key != "baseline"}, "dpo")

    class Keeping(reward.HeldoutPairs):
        def __init__(self, examples: Any, *rest: Any) -> None:
            seen["reward"] = list(examples)
            super().__init__(examples, *rest)

    monkeypatch.setattr(reward, "HeldoutPairs", Keeping)
    mine = {**MADE[made]["pairs"], "gap": 1.5 if made == "rated" else 0.5}
    run(settings(made, model_folder, pairs=mine, **many), "rm")
    ids = [[(e.row_id, e.prompt, e.responses) for e in seen[k]] for k in ("preference", "reward")]
    assert ids[0] == ids[1] and len(ids[0]) > 20


def test_groups_hold_every_training_text_once_an_epoch_and_no_held_out_one(
    run, model_folder: Path, tiny_data: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[Any] = []

    def keep(model: Any, step: Any, source: Any, *rest: Any):
        sources.append(source)
        return fit(model, step, source, *rest)

    fit = reward.fit
    monkeypatch.setattr(reward, "fit", keep)
    run(settings("groups", model_folder))
    [source] = sources
    lines = (tiny_data / "reviews.tsv").read_text().splitlines()[1:]
    texts = {line.split("\t")[2] for line in lines}
    held = {t for t in texts if is_heldout(TextRow(text=t), HeldoutConfig(fraction=0.2))}
    per_step = 4 * 5
    epochs = len(source.texts) // per_step
    rows = [group for step in range(epochs) for group in source.rows(step)]
    assert {len(group) for group in rows} == {5}
    drawn = [tokenizer.decode(text.example.responses[0].ids) for g in rows for text in g]
    assert len(set(drawn)) == len(drawn) == epochs * per_step
    assert not [text for text in held if any(text in other for other in drawn)]
    # pure functions of the step; another epoch has other groups
    assert source.rows(1) == source.rows(1)
    first = {frozenset(text.example.row_id for text in group) for group in rows}
    later = [group for step in range(epochs, 2 * epochs) for group in source.rows(step)]
    assert len(first & {frozenset(t.example.row_id for t in group) for group in later}) < 3


def test_a_run_that_died_goes_on_in_the_same_bytes(
    run, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings("groups", model_folder, steps=5, save_every=1, eval_every=2)
    whole = run(chosen, "whole")
    real = reward.GroupSource.rows

    def dies(self: Any, step: int) -> Any:
        if step == 3:
            raise OSError("the power went")
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(reward.GroupSource, "rows", dies)
        with pytest.raises(OSError, match="the power went"):
            run(chosen, "torn")
    torn = run(chosen, "torn")
    assert weights(torn).keys() == weights(whole).keys()
    assert all(torch.equal(weights(torn)[name], w) for name, w in weights(whole).items())
    assert record(torn, "heldout.json") == record(whole, "heldout.json")


def test_the_score_is_read_where_a_turn_ends(
    run, model_folder: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # chatml writes a line break after the turn's end, which no policy samples
    seen: list[Any] = []

    def keep(model: Any, step: Any, source: Any, *rest: Any):
        seen.append(source)
        return fit(model, step, source, *rest)

    fit = reward.fit
    monkeypatch.setattr(reward, "fit", keep)
    run(settings("data", model_folder, steps=1))
    batch = seen[0].collate(seen[0].rows(0))
    end = tokenizer.token_id("<|im_end|>")
    assert batch.ids_N[batch.last_R].tolist() == [end] * batch.sequences


def test_from_scratch_with_a_tokenizer(run, model_folder: Path) -> None:
    shape = {"preset": "gpt2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    chosen = settings("data", model_folder, architecture="bidirectional")
    chosen |= {"tokenizer": chosen.pop("from"), "model": shape}
    folder = run(chosen)
    scorer = load_scorer(folder)
    assert scorer.config.position == "learned" and scorer.pooling == "mean"
    assert json.loads((folder / "config.json").read_text())["trunk_model_type"] == "gpt2"


def test_margins_are_subtracted_and_asked_for(run, model_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Say {i}", "chosen": f"Yes {i}", "rejected": f"No {i}", "margin": 3.0}
        for i in range(12)
    ]
    data = [{"source": str(write_jsonl(tmp_path / "margins.jsonl", rows))}]
    alike = {"data": data, "heldout": {"fraction": 0}, "steps": 1}
    without = log(run(settings("data", model_folder, **alike), "without"))[0]
    under = log(run(settings("data", model_folder, use_margin=True, **alike), "with"))[0]
    assert under["margin"] == pytest.approx(without["margin"], abs=1e-6)
    # softplus(3 - x) is nearly 3 - x, softplus(-x) near log 2, for x near 0
    assert under["loss"] > without["loss"] + 2
    assert record(tmp_path / "with", "heldout.json") == {}
    del rows[3]["margin"]
    write_jsonl(tmp_path / "margins.jsonl", rows)
    with pytest.raises(AccordError, match="The pair has no margin") as caught:
        run(settings("data", model_folder, use_margin=True, **alike), "error")
    assert caught.value.where.endswith("margins.jsonl:4")


def test_rows_are_kept_or_counted(run, model_folder: Path, tiny_data: Path) -> None:
    entry = record(run(settings("data", model_folder, max_length=100)), "rows.json")["rows"]
    lines = (tiny_data / "preferences.jsonl").read_text().splitlines()
    assert entry["kept"] + sum(entry["dropped"].values()) == len(lines)
    assert 0 < entry["truncated"]["longer than 100 tokens"] < entry["kept"]
    with pytest.raises(AccordError, match=r"None of \d+ rows has a response token"):
        run(settings("data", model_folder, max_length=8), "short")


def test_a_baseline_without_its_library_is_refused_before_training(
    run, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accord.evaluation import baseline

    monkeypatch.setattr(baseline, "find_spec", lambda name: None)
    with pytest.raises(AccordError, match="scikit-learn") as caught:
        run(settings("data", model_folder, baseline=True))
    assert caught.value.where == "stages.reward.baseline"
