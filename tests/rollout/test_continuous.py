"""A completion is the same alone or among others that come and go."""

import math
from collections import Counter

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.model.plan import Plan
from accord.rollout.continuous import Continuous, Drawing
from accord.rollout.engine import Engine

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
ENGINES = {style: Engine(tiny(style), TOKENIZER) for style in ("gpt2", "llama")}
GREEDY = SamplingConfig(temperature=0)
LENGTH = 64


def prompts(count: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(1, 20, (count,), generator=generator).tolist()
    return [tuple(torch.randint(0, 26, (n,), generator=generator).tolist()) for n in sizes]


def run(engine: Engine, arrivals: list[list[Drawing]], slots: int = 64) -> None:
    """Draw to the end; `arrivals[t]` join before step t."""
    batch, arrivals = Continuous(engine, slots, LENGTH), list(arrivals)
    while arrivals or batch.live:
        if arrivals:
            joining = arrivals.pop(0)
            if joining:
                batch.join(joining)
        elif batch.live:
            batch.step()
        batch.leave([d for d in batch.live if len(d.ids) == d.budget])
        if arrivals and batch.live:
            batch.step()
            batch.leave([d for d in batch.live if len(d.ids) == d.budget])


@pytest.mark.parametrize("style", ENGINES)
def test_greedy_alone_is_greedy_among_63_others_that_come_and_go(style):
    engine = ENGINES[style]
    together = [Drawing(p, GREEDY, 0, 5 + 7 * i % 30) for i, p in enumerate(prompts(64))]
    run(engine, [together[:1], together[1:30], [], together[30:40], together[40:]])
    for drawing in together:
        alone = Drawing(drawing.prompt, GREEDY, 0, drawing.budget)
        run(engine, [[alone]], slots=1)
        assert drawing.ids == alone.ids


def test_greedy_is_that_of_the_engine_that_takes_a_list():
    engine = Engine(tiny("llama"), TOKENIZER)
    engine.end_ids = frozenset()
    sampling = SamplingConfig(temperature=0, max_new_tokens=25)
    done = engine.generate(prompts(20), sampling, [0] * 20)
    drawings = [Drawing(prompt, GREEDY, 0, 25) for prompt in prompts(20)]
    run(engine, [drawings])
    assert [tuple(d.ids) for d in drawings] == [c.ids for c in done]


def test_a_seed_gives_the_same_tokens_whatever_else_is_drawn():
    engine, prompt = ENGINES["llama"], (1, 2, 3)
    warm = SamplingConfig(temperature=0.9, top_p=0.8)
    alone = Drawing(prompt, warm, 7, 20)
    run(engine, [[alone]], slots=1)
    others = [
        Drawing(p, SamplingConfig(temperature=1.3, top_k=5), i, 9 + i)
        for i, p in enumerate(prompts(12))
    ]
    again = Drawing(prompt, warm, 7, 20)
    other_seed = Drawing(prompt, warm, 8, 20)
    run(engine, [others[:6], [again, other_seed], others[6:]])
    assert again.ids == alone.ids
    assert other_seed.ids != alone.ids


def test_equal_prompts_are_read_once(monkeypatch):
    engine = ENGINES["llama"]
    batch = Continuous(engine, 4, LENGTH)
    read = []
    forward = batch.forward
    monkeypatch.setattr(
        batch, "forward", lambda ids, *rest: read.append(len(ids)) or forward(ids, *rest)
    )
    drawings = [Drawing((4, 5, 6), GREEDY, 0, 8) for _ in range(3)] + [Drawing((9,), GREEDY, 0, 8)]
    batch.join(drawings)
    assert read == [4]
    for _ in range(7):
        batch.step()
    assert drawings[0].ids == drawings[1].ids == drawings[2].ids != drawings[3].ids


def test_log_probabilities_are_the_models_own():
    """Not those of the tempered, truncated, penalised distribution."""
    engine = ENGINES["llama"]
    sampling = SamplingConfig(temperature=0.5, top_k=3)
    drawing = Drawing((1, 2, 3, 4), sampling, 1, 12, alternatives=4, presence=1.5)
    silent = Drawing((1, 2, 3, 4), sampling, 1, 12, presence=1.5)
    batch = Continuous(engine, 2, LENGTH)
    tokens = [batch.join([drawing, silent])]
    tokens += [batch.step() for _ in range(11)]
    assert drawing.ids == silent.ids
    assert all(pair[1].logp is None and not pair[1].likeliest for pair in tokens)
    ids = [*drawing.prompt, *drawing.ids]
    hidden_TD = engine.model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))
    logits_TV = engine.model.logits(hidden_TD).detach()
    logits_TV[:, 27:] = -math.inf  # the pad token and what only pads the embedding
    logps_TV = logits_TV.log_softmax(-1)
    for t, (token, _) in enumerate(tokens):
        expected_V = logps_TV[len(drawing.prompt) - 1 + t]
        assert token.logp == pytest.approx(float(expected_V[token.id]), abs=1e-5)
        best = expected_V.topk(4)
        assert [i for i, _ in token.likeliest] == best.indices.tolist()
        assert [p for _, p in token.likeliest] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_penalties_come_off_the_logits():
    """Greedy under penalties, against logits that are read again for every token."""
    engine = ENGINES["llama"]
    drawing = Drawing((3, 3), GREEDY, 0, 24, presence=0.4, frequency=0.3)
    run(engine, [[Drawing((8,), GREEDY, 0, 30), drawing]])
    ids = [3, 3]
    for _ in range(24):
        hidden = engine.model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))
        logits_V = engine.model.logits(hidden[-1]).detach()
        logits_V[27:] = -math.inf
        for token, count in Counter(ids[2:]).items():
            logits_V[token] -= 0.4 + 0.3 * count
        ids.append(int(logits_V.argmax()))
    assert drawing.ids == ids[2:]
    plain = Drawing((3, 3), GREEDY, 0, 24)
    run(engine, [[plain]])
    assert plain.ids != drawing.ids
