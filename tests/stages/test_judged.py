"""Pairs of sampled completions that a reward tells apart."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from left import make_model, record, write_jsonl

from accord.config.stages import PreferenceStage, RewardStage
from accord.data.account import Account
from accord.data.examples import pair_example
from accord.errors import AccordError
from accord.stages.comparisons import comparisons, pair_examples
from accord.stages.context import StageContext
from accord.stages.judged import (
    IDENTICAL,
    MADE,
    NO_PROMPT,
    NOT_DRAWN,
    TIED,
    best_and_worst,
    bradley_terry,
)
from accord.stages.pairs import load_pairs
from accord.text.tokenizer import Tokenizer

SHORT = {"max_new_tokens": 12}
HELD = 16
"""Rows of chat.jsonl that a held-out share of 0.2 keeps; what becomes of them is not counted."""
TRAINED_ON = 59
"""The others, less those that say again what one before them says."""
ALPHA = [{"function": "python:left:letters"}]


@pytest.fixture
def made(model_folder: Path, tokenizer: Tokenizer, tiny_data: Path, tmp_path: Path) -> Any:
    def make(seed: int = 1, source: str = "chat.jsonl", **pairs: Any) -> Any:
        judged = {
            "kind": "judged", "from": str(model_folder), "reward": ALPHA, "samples": 3,
            "sampling": SHORT, **pairs,
        }  # fmt: skip
        whole = {
            "from": str(model_folder), "steps": 1, "heldout": {"fraction": 0.2},
            "max_length": 256, "data": [{"source": source, "name": "rows"}], "pairs": judged,
        }  # fmt: skip
        config = PreferenceStage.model_validate_json(json.dumps(whole))
        inputs = {name: Path(name) for name in config.inputs()}
        context = StageContext("dpo", tmp_path, inputs, seed, tiny_data)
        account = Account()
        return load_pairs(config, context, lambda: tokenizer, account), account.to_json()["rows"]

    return make


def test_the_best_is_chosen_and_the_worst_rejected(made, tokenizer: Tokenizer) -> None:
    loaded, entry = made()
    assert len(loaded.heldout) > 3 and len(loaded.train) > 30
    for row in (*loaded.train, *loaded.heldout):
        texts = [getattr(row, side)[0].content for side in ("chosen", "rejected")]
        ids = [row.drawn.chosen, row.drawn.rejected]
        values = [
            sum(c.isalpha() for c in text) + 0.01 * sum(i % 2 for i in side)
            for text, side in zip(texts, ids, strict=True)
        ]
        assert values[0] > values[1]
        assert [row.extra["chosen_reward"], row.extra["rejected_reward"]] == values
        assert row.chosen[0].role == "assistant"
    assert entry["notes"][MADE] == len(loaded.train) == entry["kept"] - HELD
    assert entry["kept"] + sum(entry["dropped"].values()) == 80


def test_what_was_drawn_is_trained_on_token_by_token(made, tokenizer: Tokenizer) -> None:
    """An untrained model draws tokens that its text would not encode to again."""
    loaded, _ = made()
    again = 0
    for row in loaded.train:
        example = pair_example(row, tokenizer, None)
        assert example.prompt == row.drawn.prompt
        for response, ids, cut in zip(
            example.responses, (row.drawn.chosen, row.drawn.rejected), row.cut_off, strict=True
        ):
            assert response.ids == ids and all(response.mask)
            assert cut == (len(ids) == 12 and ids[-1] not in (tokenizer.end_id, _turn(tokenizer)))
        encoded = pair_example(replace(row, drawn=None), tokenizer, None)
        again += encoded.responses == example.responses
    assert again < len(loaded.train) / 2


def _turn(tokenizer: Tokenizer) -> int:
    return tokenizer.token_id("<|im_end|>")


def test_a_prompt_gives_the_same_pair_whatever_other_prompts_there_are(
    made, tiny_data: Path, tmp_path: Path
) -> None:
    all_of_them, _ = made()
    again, _ = made()
    lines = (tiny_data / "chat.jsonl").read_text().splitlines()
    file = write_jsonl(tmp_path / "few.jsonl", [json.loads(line) for line in lines[::-3]])
    some, _ = made(source=str(file))
    pairs = {row.prompt: row.drawn for row in (*all_of_them.train, *all_of_them.heldout)}
    assert len(some.train) > 10
    assert all(pairs[row.prompt] == row.drawn for row in some.train)
    assert [row.drawn for row in again.train] == [row.drawn for row in all_of_them.train]
    other, _ = made(seed=2)
    assert {row.drawn for row in other.train}.isdisjoint(pairs.values())


def other_reasons(entry: dict[str, Any]) -> int:
    return sum(count for why, count in entry["dropped"].items() if why != NOT_DRAWN)


def test_prompts_are_drawn_by_the_seed_and_the_others_counted(made) -> None:
    loaded, entry = made(prompts=10)
    assert len(loaded.train) == entry["notes"][MADE] == 10 == entry["kept"] - HELD
    assert len(loaded.heldout) == math.ceil(10 * HELD / TRAINED_ON)
    assert entry["dropped"][NOT_DRAWN] + entry["kept"] + other_reasons(entry) == 80
    other, _ = made(prompts=10, seed=2)
    assert {row.prompt for row in other.train} != {row.prompt for row in loaded.train}
    whole, _ = made()
    assert {row.drawn for row in loaded.train} <= {row.drawn for row in whole.train}


def test_the_first_words_are_read_and_not_trained_on(made, tokenizer: Tokenizer) -> None:
    loaded, entry = made(source="stories.jsonl", first_words=2)
    assert entry["dropped"][NO_PROMPT] >= 1
    for row in loaded.train:
        (opening,) = row.prompt
        assert opening.role == "text" and len(opening.content.split()) == 2
        start = tokenizer.start_id
        assert row.drawn.prompt == (start, *tokenizer.encode(opening.content))
        assert tokenizer.decode(row.drawn.chosen).startswith(row.chosen[0].content)
    assert len({row.prompt for row in loaded.train}) == len(loaded.train)


def test_ties_are_counted_and_without_a_pair_there_is_no_training(made) -> None:
    same = [{"function": "regex", "options": {"pattern": "never written"}}]
    with pytest.raises(AccordError, match="No judged pair is left") as caught:
        made(reward=same)
    assert TIED in caught.value.fix


def test_bradley_terry_pairs_every_two_that_differ(made) -> None:
    loaded, entry = made(label="bradley_terry", reward=[{**ALPHA[0], "weight": 1e-6}])
    per_prompt = Counter(row.prompt for row in loaded.train)
    assert max(per_prompt.values()) == 3
    assert entry["notes"][MADE] == len(loaded.train) > len(per_prompt)
    assert entry["kept"] == len(per_prompt) + HELD
    right = [row.extra["chosen_reward"] > row.extra["rejected_reward"] for row in loaded.train]
    assert 0.35 < np.mean(right) < 0.65  # rewards next to equal: a coin
    sure, _ = made(label="bradley_terry", reward=[{**ALPHA[0], "weight": 1e6}])
    ordered = [
        row for row in sure.train if row.extra["chosen_reward"] != row.extra["rejected_reward"]
    ]
    assert all(row.extra["chosen_reward"] > row.extra["rejected_reward"] for row in ordered)
    greedy = {"temperature": 0, **SHORT}
    with pytest.raises(AccordError, match=IDENTICAL):
        made(label="bradley_terry", sampling=greedy)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=2, max_size=6))
def test_best_and_worst_are_what_they_are_called(scores: list[float]) -> None:
    ends = best_and_worst(scores)
    if ends is None:
        assert len(set(scores)) == 1
    else:
        assert scores[ends[0]] == max(scores) > scores[ends[1]] == min(scores)


def test_labels_are_drawn_as_bradley_and_terry_say() -> None:
    scores, count = [1.2, 0.0], 4000
    first = sum(bradley_terry(scores, seed) == [(0, 1)] for seed in range(count))
    expected = 1 / (1 + math.exp(-1.2))
    assert first / count == pytest.approx(expected, abs=4 * math.sqrt(0.25 / count))
    assert bradley_terry([1e9, 0.0, -1e9], 1) == [(0, 1), (0, 2), (1, 2)]


def test_a_model_with_other_tokens_is_refused(made, tmp_path: Path) -> None:
    stranger = make_model(tmp_path / "stranger", ["quite other words than those"] * 9)
    with pytest.raises(AccordError, match="another tokenizer"):
        made(**{"from": str(stranger)})


REWARD = {
    "kind": "reward", "steps": 2, "batch_size": 4, "max_length": 256, "baseline": False,
    "heldout": {"fraction": 0.2}, "data": [{"source": "chat.jsonl", "name": "rows"}],
}  # fmt: skip


def test_a_reward_model_learns_from_judged_pairs(run, model_folder: Path) -> None:
    pairs = {
        "kind": "judged", "from": str(model_folder), "reward": ALPHA, "samples": 3,
        "sampling": SHORT, "prompts": 20,
    }  # fmt: skip
    out = run({**REWARD, "from": str(model_folder), "pairs": pairs})
    entry = record(out, "rows.json")["rows"]
    assert entry["kept"] == entry["notes"][MADE] + HELD == 20 + HELD
    held = record(out, "heldout.json")
    assert held["pairs"] == math.ceil(20 * HELD / TRAINED_ON)
    # the policy judged by a reward model that judged pairs made
    second = run(
        {
            "kind": "preference", "from": str(model_folder), "steps": 1, "max_length": 256,
            "data": REWARD["data"], "pairs": {**pairs, "reward": [{"model": str(out)}]},
        },
        "dpo",
    )  # fmt: skip
    assert record(second, "rows.json")["rows"]["notes"][MADE] == 20


def test_a_reward_model_learns_from_sampled_pairs(
    run, model_folder: Path, tokenizer: Tokenizer, tiny_data: Path, tmp_path: Path
) -> None:
    pairs = {"kind": "sampled", "rejected": str(model_folder), "rejected_sampling": SHORT}
    whole = {**REWARD, "from": str(model_folder), "pairs": pairs}
    out = run(whole)
    entry = record(out, "rows.json")["rows"]
    assert entry["kept"] + sum(entry["dropped"].values()) == 80
    config = RewardStage.model_validate_json(json.dumps(whole))
    inputs = {name: Path(name) for name in config.inputs()}
    context = StageContext("reward", tmp_path, inputs, 1, tiny_data)
    rows = comparisons(config, context, lambda: tokenizer, Account())
    kept = pair_examples(rows.pairs, tokenizer, 256, Account())
    assert any(row.cut_off[1] for row, _ in kept)
    for row, example in kept:
        assert (example.responses[1].ids[-1] == _turn(tokenizer)) != row.cut_off[1]


def test_the_margins_asked_for_must_be_there(run, model_folder: Path) -> None:
    pairs = {"kind": "sampled", "rejected": str(model_folder), "rejected_sampling": SHORT}
    with pytest.raises(AccordError, match="no margin"):
        run({**REWARD, "from": str(model_folder), "pairs": pairs, "use_margin": True})
