"""Scores: read at the last token or averaged, whatever else is in the batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.model import PRESETS, ModelConfig
from accord.data.packing import Example, Response
from accord.data.scoring import Pooling, collate_scored
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.model.scorer import Scorer

SHAPE: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "initializer_range": 0.3,
}
LLAMA = ModelConfig(**SHAPE, num_key_value_heads=2, tie_word_embeddings=False)
GPT2 = ModelConfig(**{**PRESETS["gpt2"], **SHAPE})
POOLINGS: tuple[Pooling, ...] = ("last", "mean")

ids = st.lists(st.integers(0, 18), min_size=1, max_size=6).map(tuple)
examples = st.builds(
    lambda prompt, responses: Example(
        prompt, tuple(Response(r, (True,) * len(r)) for r in responses)
    ),
    ids,
    st.lists(ids, min_size=1, max_size=3),
)


def scorer_of(config: ModelConfig, pooling: Pooling) -> Scorer:
    return Scorer.from_decoder(Decoder.init(config, 0), pooling, seed=1).double()


@torch.no_grad()
def by_hand(scorer: Scorer, tokens: tuple[int, ...]) -> float:
    """The score of one sequence alone, attention written out from its definition."""

    def attend(layer: int, q: Any, k: Any, v: Any, window: int | None) -> torch.Tensor:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) / q.shape[-1] ** 0.5
        if scorer.pooling == "last":
            later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        return torch.einsum("hts,shd->thd", scores.softmax(-1), v)

    hidden = scorer.trunk(torch.tensor(tokens), torch.arange(len(tokens)), attend)
    pooled = hidden[-1] if scorer.pooling == "last" else hidden.mean(0)
    return float(pooled @ scorer.score.weight[0])


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("pooling", POOLINGS)
@settings(deadline=None, max_examples=15)
@given(batch=st.lists(examples, min_size=1, max_size=4))
def test_a_score_is_that_of_the_response_alone(
    config: ModelConfig, pooling: Pooling, batch: list[Example]
) -> None:
    scorer = scorer_of(config, pooling)
    with torch.no_grad():
        scores = scorer(collate_scored(batch, pooling))
    assert scores.dtype == torch.float32
    want = [by_hand(scorer, (*e.prompt, *r.ids)) for e in batch for r in e.responses]
    torch.testing.assert_close(scores, torch.tensor(want), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_trunk_is_a_copy_and_the_head_comes_from_the_seed(pooling: Pooling) -> None:
    decoder = Decoder.init(LLAMA, 0)
    one, same, other = (Scorer.from_decoder(decoder, pooling, seed) for seed in (1, 1, 2))
    for name, weight in one.trunk.named_parameters():
        assert torch.equal(weight, decoder.get_parameter(name))
        assert weight.data_ptr() != decoder.get_parameter(name).data_ptr()
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    # every weight of a scorer is used: an output matrix would be dead weight
    batch = collate_scored([Example((3, 4), (Response((5, 6), (True, True)),))], pooling)
    one(batch).sum().backward()
    assert all(weight.grad is not None for weight in one.parameters())


def test_values_are_the_heads_products_in_float32() -> None:
    scorer = scorer_of(LLAMA, "last").bfloat16()
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    want = hidden.float() @ scorer.score.weight[0].float()
    assert torch.equal(scorer.values(hidden), want)


def test_a_bidirectional_plan_sees_both_sides_of_its_segment_and_no_other() -> None:
    layout = collate_scored([Example((1,), (Response((2, 3), (True, True)),))] * 2, "mean").layout
    plan = Plan.bidirectional(layout)
    sees = plan.visible(None)
    grid = layout.grid_GT.shape
    assert sees.shape == (grid[0], grid[1], grid[1])
    assert bool((sees == sees.transpose(1, 2)).all())
    assert bool(sees.all())
    near = plan.visible(2)[0]
    assert near.tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    both = Plan.bidirectional(
        type(layout)(
            *(
                torch.cat((x[:1], x[:1] + more), 1)
                for x, more in zip(
                    (layout.grid_GT, layout.segment_GT, layout.parent_GT), (3, 1, 1), strict=True
                )
            )
        )
    ).visible(None)[0]
    assert torch.equal(both, torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).bool())
