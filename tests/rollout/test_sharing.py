"""Equal prompts are read once; what is drawn after them stays each row's own."""

from functools import cache

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.model.cache import KVCache
from accord.rollout.engine import Completion, Engine

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
GROUPS = [[1, 2, 3, 4, 5], [7], [9, 8, 7, 6, 5, 4, 3], [2, 3, 4, 5, 6]]
K = 6
PROMPTS = [prompt for prompt in GROUPS for _ in range(K)]
SAMPLING = [
    SamplingConfig(max_new_tokens=20),
    SamplingConfig(max_new_tokens=20, top_p=0.9, repetition_penalty=1.2, no_repeat_ngram_size=3),
    SamplingConfig(max_new_tokens=1),
]


@pytest.fixture
def read(monkeypatch):
    """The lengths of all prompts that are prefilled, in order."""
    lengths: list[int] = []
    prefill = KVCache.prefill
    monkeypatch.setattr(
        KVCache, "prefill", lambda self, slots, n: (lengths.extend(n), prefill(self, slots, n))[1]
    )
    return lengths


@cache
def engine_of(style: str) -> Engine:
    return Engine(tiny(style, sliding_windows=(4, None)), TOKENIZER)


@cache
def without_sharing(engine: Engine, sampling: SamplingConfig) -> list[Completion]:
    """The slow twin: a generate of its own for every row."""
    return [engine.generate([p], sampling, [seed])[0] for seed, p in enumerate(PROMPTS)]


@pytest.mark.parametrize("sampling", SAMPLING, ids=["plain", "penalties", "one token"])
@pytest.mark.parametrize("slots", [1, 3, 64])
@pytest.mark.parametrize("order", ["groups", "scattered"])
@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_shared_prompts_give_the_completions_of_prompts_read_one_by_one(
    style, order, slots, sampling
):
    engine = engine_of(style)
    alone = without_sharing(engine, sampling)
    places = list(range(len(PROMPTS)))
    if order == "scattered":
        places = [7 * i % len(PROMPTS) for i in places]
    done = engine.generate([PROMPTS[i] for i in places], sampling, places, slots)
    for place, completion in zip(places, done, strict=True):
        assert completion.ids == alone[place].ids
        assert completion.finished == alone[place].finished
        torch.testing.assert_close(completion.logps, alone[place].logps, atol=1e-5, rtol=0)


def test_rows_of_one_prompt_still_differ():
    done = Engine(tiny("llama"), TOKENIZER).generate([[1, 2]] * 20, SAMPLING[0], range(20))
    assert len({completion.ids for completion in done}) > 15


@pytest.mark.parametrize("slots", [4, 9, 64])
def test_a_prompt_that_a_live_row_holds_is_not_read_again(slots, read):
    engine = Engine(tiny("llama"), TOKENIZER)
    engine.end_ids, engine.forbidden = frozenset(), (26, 27)  # no row ends before the others join
    engine.generate(PROMPTS, SAMPLING[0], range(len(PROMPTS)), slots)
    once = sum(map(len, GROUPS))
    # where a batch ends in the middle of a group, all its rows may be gone before the rest join
    assert once <= sum(read) <= once * (1 if slots == 64 else 3)
    assert sum(read) < K * once
    read.clear()
    without_sharing(engine, SAMPLING[0])
    assert sum(read) == K * once


def test_a_group_larger_than_the_batch_is_read_once_while_its_rows_live(read):
    engine = Engine(tiny("llama"), TOKENIZER)
    rows = 40
    done = engine.generate([[1, 2, 3, 4]] * rows, SAMPLING[0], range(rows), 16)
    assert len({len(completion.ids) for completion in done}) > 3  # rows left at different times
    assert read == [4]
