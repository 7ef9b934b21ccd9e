"""Packing: a stream laid out in any way gives each sequence what it gives alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.model import PRESETS, ModelConfig
from accord.data.batch import Layout, TokenBatch
from accord.data.packing import Blocks, Example, Response, collate
from accord.model import Decoder, Plan

TINY = {
    "vocab_size": 11,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
CONFIGS = {
    "llama": ModelConfig(**TINY, num_key_value_heads=2),
    "gpt2": ModelConfig(**{**PRESETS["gpt2"], **TINY}),
    "windows": ModelConfig(**TINY, sliding_windows=(3, None)),
}
MODELS = {name: Decoder.init(config, seed=1) for name, config in CONFIGS.items()}

tokens = st.lists(st.integers(0, 10), min_size=1, max_size=6).map(tuple)


def hidden(model: Decoder, batch: TokenBatch) -> torch.Tensor:
    with torch.no_grad():
        return model(batch.ids_N, batch.position_N, Plan.of(batch.layout))


def alone(model: Decoder, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))


def whole(ids: tuple[int, ...]) -> Response:
    return Response(ids, (True,) * len(ids))


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_shared_prompts_give_each_response_what_it_gets_alone(
    name: str, data: st.DataObject
) -> None:
    drawn = data.draw(
        st.lists(
            st.tuples(tokens, st.lists(tokens, min_size=1, max_size=3)), min_size=1, max_size=4
        )
    )
    examples = [Example(prompt, tuple(map(whole, responses))) for prompt, responses in drawn]
    batch = collate(examples)
    states = hidden(MODELS[name], batch)[batch.predict_S]
    sequence = 0
    for prompt, responses in drawn:
        for response in responses:
            want = alone(MODELS[name], (prompt + response)[:-1])[len(prompt) - 1 :]
            got = states[batch.sequence_S == sequence]
            torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
            sequence += 1


@pytest.mark.parametrize("name", MODELS)
@given(
    documents=st.lists(tokens, min_size=2, max_size=6),
    changed=st.integers(0, 5),
    length=st.integers(3, 12),
)
@settings(deadline=None, max_examples=15)
def test_changing_one_document_moves_no_other(
    name: str, documents: list[tuple[int, ...]], changed: int, length: int
) -> None:
    changed %= len(documents)
    other = list(documents)
    other[changed] = tuple((token + 1) % 11 for token in documents[changed])
    before, after = (Blocks.of(docs, 10, 10, length) for docs in (documents, other))
    rows = range(len(before))
    if not rows:
        return
    document_N = (np.cumsum(before.opens) - 1)[: len(before) * length]
    states = [hidden(MODELS[name], blocks.collate(rows)) for blocks in (before, after)]
    untouched = torch.from_numpy(document_N != changed)
    assert torch.equal(states[0][untouched], states[1][untouched])


def test_rejected_does_not_see_chosen_but_both_see_the_prompt() -> None:
    model = MODELS["llama"]

    def states(prompt: tuple[int, ...], chosen: tuple[int, ...]) -> torch.Tensor:
        batch = collate([Example(prompt, (whole(chosen), whole((7, 8, 9))))])
        return hidden(model, batch)[batch.predict_S][batch.sequence_S == 1]

    first = states((1, 2), (3, 4, 5))
    assert torch.equal(first, states((1, 2), (6, 6, 6)))
    assert not torch.allclose(first, states((0, 2), (3, 4, 5)))


def test_the_order_of_the_stream_does_not_matter() -> None:
    batch = collate(
        [Example((1, 2), (whole((3, 4, 5)), whole((6, 7)))), Example((8,), (whole((9, 1)),))]
    )
    order = torch.randperm(len(batch.ids_N), generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)
    grid = batch.layout.grid_GT
    moved = replace(
        batch,
        ids_N=batch.ids_N[order],
        position_N=batch.position_N[order],
        layout=replace(batch.layout, grid_GT=torch.where(grid < 0, -1, place[grid.clamp(min=0)])),
    )
    for model in MODELS.values():
        torch.testing.assert_close(
            hidden(model, moved), hidden(model, batch)[order], atol=1e-5, rtol=0
        )


def test_fast_cases_are_recognised() -> None:
    dense, ragged = Plan.dense(2, 3), Plan.ragged([3, 1])
    assert (dense.is_stream, dense.is_causal, dense.is_full) == (True, True, True)
    assert (ragged.is_stream, ragged.is_causal, ragged.is_full) == (False, True, False)
    packed = Plan.of(collate([Example((1,), (whole((2, 3)), whole((4, 5))))]).layout)
    assert (packed.is_stream, packed.is_causal) == (True, False)


@pytest.mark.parametrize("name", MODELS)
def test_fast_and_masked_paths_agree_in_values_and_gradients(name: str) -> None:
    model = MODELS[name]
    ids = torch.randint(11, (12,), generator=torch.Generator().manual_seed(0))
    position = torch.tensor([*range(5), *range(7)])
    # the same two sequences: a row each, and both in one row
    own = torch.tensor([[0] * 5 + [1] * 7])
    one_row = Plan.of(Layout(torch.arange(12)[None], own, own))
    results = []
    for plan in (Plan.ragged([5, 7]), one_row):
        model.zero_grad()
        states = model(ids, position, plan)
        states.square().sum().backward()
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append((states.detach(), *grads))
    assert len(results[0]) == len(results[1]) > 10
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def test_windows_count_positions_of_the_sequence_not_columns_of_the_grid() -> None:
    # prompt p0 p1 p2, chosen c3 c4, rejected r3 r4: r3 is as far from p2 as c3 is
    layout = Layout(
        torch.arange(7)[None],
        torch.tensor([[0, 0, 0, 1, 1, 2, 2]]),
        torch.tensor([[0, 0, 0, 0, 0, 0, 0]]),
    )
    sees = Plan.of(layout).visible(window=2)[0]
    seen = [row.nonzero().flatten().tolist() for row in sees]
    assert seen == [[0], [0, 1], [1, 2], [2, 3], [3, 4], [2, 5], [5, 6]]


def test_bias_is_made_once_for_each_window() -> None:
    plan = Plan.dense(1, 4)
    assert plan.bias(2, torch.float32) is plan.bias(2, torch.float32)
    assert plan.bias(2, torch.float32) is not plan.bias(3, torch.float32)
