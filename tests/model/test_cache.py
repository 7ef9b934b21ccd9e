"""Decoding with the cache gives what reading the whole sequence anew gives."""

import pytest
import torch

from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model import Decoder, KVCache, Plan
from accord.model.cache import TILE

TINY = {
    "vocab_size": 13,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
CONFIGS = {
    "llama": ModelConfig(**TINY),
    "grouped": ModelConfig(**TINY, num_key_value_heads=2, head_dim=6, tie_word_embeddings=False),
    "gpt2": ModelConfig(**{**PRESETS["gpt2"], **TINY}),
    "windows": ModelConfig(**TINY, num_key_value_heads=1, sliding_windows=(4, None, 1)),
}
MODELS = {name: Decoder.init(config, seed=2) for name, config in CONFIGS.items()}


def cache_of(model: Decoder, slots: int, length: int = 40) -> KVCache:
    weight = model.head_weight_VD
    return KVCache(model.config, slots, length, weight.dtype, weight.device)


def whole(model: Decoder, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(13, (n,), generator=generator).tolist() for n in lengths]


def prefill(model: Decoder, cache: KVCache, slots: list[int], rows: list[list[int]]) -> None:
    attend = cache.prefill(slots, [len(row) for row in rows])
    ids = torch.tensor([token for row in rows for token in row])
    states = model(ids, attend.position_N, attend)
    want = torch.cat([whole(model, row) for row in rows])
    torch.testing.assert_close(states, want, atol=1e-5, rtol=0)


def decode(
    model: Decoder, cache: KVCache, slots: list[int], rows: list[list[int]], steps: int
) -> None:
    """Add tokens to `rows` and compare each step with the whole sequence read anew."""
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        new = torch.randint(13, (len(slots),), generator=generator)
        for row, token in zip(rows, new.tolist(), strict=True):
            row.append(token)
        attend = cache.step(slots)
        states = model(new, attend.position_N, attend)
        want = torch.stack([whole(model, row)[-1] for row in rows])
        torch.testing.assert_close(states, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lengths", [(3, 9, 1), (5, 5, 5)])
@torch.no_grad()
def test_cached_equals_uncached_beyond_the_window(name: str, lengths: tuple[int, ...]) -> None:
    model, rows = MODELS[name], prompts(*lengths)
    cache = cache_of(model, 3)
    prefill(model, cache, [0, 1, 2], rows)
    decode(model, cache, [0, 1, 2], rows, steps=14)
    assert [cache.length(slot) for slot in range(3)] == [n + 14 for n in lengths]


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_finished_slot_is_refilled_while_others_go_on(name: str) -> None:
    model, rows = MODELS[name], prompts(4, 11, 6)
    cache = cache_of(model, 4)
    prefill(model, cache, [3, 0, 2], rows)
    decode(model, cache, [3, 0, 2], rows, steps=3)
    (fresh,) = prompts(2)
    prefill(model, cache, [0], [fresh])
    rows[1] = fresh
    decode(model, cache, [0, 2, 3], [rows[1], rows[2], rows[0]], steps=6)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_one_prompt_is_copied_to_many_slots(name: str) -> None:
    model, (prompt,) = MODELS[name], prompts(7)
    cache = cache_of(model, 4)
    prefill(model, cache, [1], [prompt])
    cache.copy(1, [0, 3])
    rows = [list(prompt) for _ in range(3)]
    decode(model, cache, [0, 1, 3], rows, steps=5)
    assert cache.length(2) == 0


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours_lengths() -> None:
    model, rows = MODELS["windows"], prompts(3, 12)
    both, single = cache_of(model, 2), cache_of(model, 1)
    prefill(model, both, [0, 1], rows)
    prefill(model, single, [0], rows[:1])
    for token in (1, 2, 3, 4, 5, 6):
        pair, one = both.step([0, 1]), single.step([0])
        states = model(torch.tensor([token, 0]), pair.position_N, pair)[0]
        want = model(torch.tensor([token]), one.position_N, one)[0]
        torch.testing.assert_close(states, want, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bfloat16_stays_close_to_float32() -> None:
    config = CONFIGS["grouped"].model_copy(update={"initializer_range": 0.05})
    model, (prompt,) = Decoder.init(config, 0), prompts(20)
    want = whole(model, prompt)
    model.to(torch.bfloat16)
    cache = cache_of(model, 1)
    attend = cache.prefill([0], [19])
    model(torch.tensor(prompt[:-1]), attend.position_N, attend)
    attend = cache.step([0])
    states = model(torch.tensor(prompt[-1:]), attend.position_N, attend)
    assert states.dtype == torch.bfloat16
    assert (states[0].float() - want[-1]).abs().max() < 0.1


@torch.no_grad()
def test_a_prompt_is_copied_from_a_slot_that_has_gone_on() -> None:
    model, (prompt,) = MODELS["windows"], prompts(6)
    cache, row = cache_of(model, 3), list(prompt)
    prefill(model, cache, [0], [prompt])
    decode(model, cache, [0], [row], steps=5)
    cache.copy(0, [2, 1], len(prompt))
    rows = [row, list(prompt), list(prompt)]
    decode(model, cache, [0, 1, 2], rows, steps=4)
    with pytest.raises(AccordError, match="slot 1 holds 10 tokens, not 11"):
        cache.copy(1, [2], 11)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_packed_cache_that_grows_is_a_wide_one(name: str) -> None:
    config = CONFIGS[name].model_copy(update={"initializer_range": 0.05})
    model, rows = Decoder.init(config, 0).bfloat16(), prompts(3, 9)
    cache = cache_of(model, 3)
    attend = cache.prefill([2, 0], [3, 9])
    model(torch.tensor([*rows[0], *rows[1]]), attend.position_N, attend)
    generator = torch.Generator().manual_seed(0)
    for _ in range(TILE - 4):
        new = torch.randint(13, (2,), generator=generator)
        for row, token in zip(rows, new.tolist(), strict=True):
            row.append(token)
        attend = cache.step([2, 0])
        states = model(new, attend.position_N, attend)
    assert cache.length(0) > TILE
    want = torch.stack([whole(model, row)[-1] for row in rows])
    torch.testing.assert_close(states.float(), want.float(), atol=0.05, rtol=0)


def test_a_full_cache_is_named() -> None:
    cache = cache_of(MODELS["llama"], 2, length=4)
    with pytest.raises(AccordError, match="5 tokens do not fit a cache of 4"):
        cache.prefill([0], [5])
    cache.prefill([0], [4])
    with pytest.raises(AccordError, match="5 tokens do not fit a cache of 4"):
        cache.step([0])
    assert cache.length(0) == 4


def test_a_cache_past_learned_positions_is_refused() -> None:
    with pytest.raises(AccordError, match="41 positions is longer than the model's 40 learned"):
        cache_of(MODELS["gpt2"], 1, length=41)
