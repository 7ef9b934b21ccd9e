"""vLLM computes what our engine does, before and after new weights are handed over.

This needs an environment of its own (docs/vllm.md): VENV/bin/python -m pytest -m peer THIS_FILE
"""

import gc
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.model.plan import Plan
from accord.rollout.engine import Engine
from accord.rollout.score import score_sampled

from .vllm_models import (
    GREEDY,
    OPTIONS,
    STYLES,
    TOKENIZER,
    engine_of,
    model,
    prompts,
    vllm_environment,
)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vLLM is not importable here: make its environment as docs/vllm.md says",
    ),
    pytest.mark.filterwarnings("default"),  # vLLM's own are not ours
]
NEAR = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module", params=STYLES)
def running(request, tmp_path_factory):
    """vLLM on a tiny model, and the model's style."""
    with pytest.MonkeyPatch.context() as patch:
        vllm_environment(patch.setenv)
        engine = engine_of(request.param, tmp_path_factory.mktemp("model"), **OPTIONS)
        yield engine, request.param
        del engine
        gc.collect()


def agree(engine, decoder, sampling):
    """Both engines' greedy completions, checked to be the same."""
    asked = prompts()
    want = Engine(decoder, TOKENIZER).generate(asked, sampling, [0] * len(asked))
    done = engine.generate(asked, sampling, [0] * len(asked))
    for ours, theirs in zip(want, done, strict=True):
        assert (theirs.ids, theirs.text, theirs.finished) == (ours.ids, ours.text, ours.finished)
        torch.testing.assert_close(torch.tensor(theirs.logps), torch.tensor(ours.logps), **NEAR)
    return [c.ids for c in done]


def test_greedy_completions_are_our_engines_before_and_after_an_update(running):
    engine, style = running
    seen = []
    for seed in (1, 2, 3):
        if seed > 1:
            engine.update(model(style, seed).state_dict())
        seen.append(agree(engine, model(style, seed), GREEDY))
    for first, second in (seen[:2], seen[1:]):
        assert all(one != other for one, other in zip(first, second, strict=True))


def test_greedy_completions_agree_under_a_penalty_and_stop_strings(running):
    engine, style = running
    engine.update(model(style, 1).state_dict())
    decoder = model(style, 1)
    agree(engine, decoder, SamplingConfig(temperature=0, repetition_penalty=1.3))
    free = Engine(decoder, TOKENIZER).generate(prompts(), SamplingConfig(temperature=0), [0] * 4)
    found = [re.search(r"[ -~]{2}", c.text[3:]) for c in free]
    pieces = tuple(piece[0] for piece in found if piece)
    assert len(pieces) >= 2
    cut = agree(engine, decoder, SamplingConfig(temperature=0, stop=pieces))
    assert sum(len(ids) < len(c.ids) for ids, c in zip(cut, free, strict=True)) >= 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 1.3, "top_p": 0.8},
        {"top_k": 9},
        {"temperature": 0.8, "top_k": 20, "top_p": 0.9},
        {"min_p": 0.05},
    ],
    ids=str,
)
def test_sampled_tokens_have_their_seeds_and_the_probabilities_they_were_drawn_at(running, changes):
    engine, style = running
    decoder, sampling = model(style, 1), SamplingConfig(max_new_tokens=16, **changes)
    engine.update(decoder.state_dict())
    asked, seeds = prompts() * 4, range(16)
    done = engine.generate(asked, sampling, seeds)
    assert [c.ids for c in engine.generate(asked[::-1], sampling, seeds[::-1])][::-1] == [
        c.ids for c in done
    ]
    others = engine.generate(asked, sampling, range(100, 116))
    assert sum(c.ids != other.ids for c, other in zip(done, others, strict=True)) >= 12
    pairs = [(prompt, c.ids) for prompt, c in zip(asked, done, strict=True)]
    scored = score_sampled(decoder, pairs, sampling, len(TOKENIZER), engine.forbidden)
    for completion, logps in zip(done, scored, strict=True):
        torch.testing.assert_close(torch.tensor(completion.logps), logps, **NEAR)


def test_pad_and_padding_rows_are_never_drawn(running):
    engine, style = running
    decoder, asked, known = model(style, 1), prompts()[:1] * 40, len(TOKENIZER)
    end = len(asked[0])
    with torch.no_grad():
        hidden_D = decoder(torch.tensor(asked[0]), torch.arange(end), Plan.dense(1, end))[-1]
        decoder.head_weight_VD[[TOKENIZER.pad_id, *range(known, 300)]] = 5 * hidden_D
        assert int(decoder.logits(hidden_D).argmax()) in {TOKENIZER.pad_id, *range(known, 300)}
    engine.update(decoder.state_dict())
    assert len(agree(engine, decoder, GREEDY)) == 4
    hot = SamplingConfig(max_new_tokens=24, temperature=2)
    drawn = {token for c in engine.generate(asked, hot, range(40)) for token in c.ids}
    assert max(drawn) < known
    assert TOKENIZER.pad_id not in drawn


def test_stop_tokens_end_a_completion_and_limits_hold(running, monkeypatch):
    engine, style = running
    decoder = model(style, 1)
    engine.update(decoder.state_dict())
    [free, *_] = engine.generate(prompts(), GREEDY, [0] * 4)
    stop = free.ids[9]
    at = free.ids.index(stop)
    monkeypatch.setattr(engine, "end_ids", frozenset({TOKENIZER.end_id, stop}))
    [ended, *_] = engine.generate(prompts(), GREEDY, [0] * 4)
    assert (ended.ids, ended.finished) == (free.ids[: at + 1], "stop")
    assert ended.text == TOKENIZER.decode(free.ids[:at])
    monkeypatch.setattr(engine, "end_ids", frozenset({299}))
    long = [5] * 120
    done = engine.generate([long, [7]], SamplingConfig(max_new_tokens=20), [0, 1])
    assert [(len(c.ids), c.finished) for c in done] == [(8, "length"), (20, "length")]


@pytest.mark.slow
def test_each_rank_has_an_engine_of_its_own(tmp_path):
    script = Path(__file__).with_name("vllm_models.py")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, script, tmp_path],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("rank")]
    assert sorted(said) == ["rank 0 of 2: 1 prompts agree", "rank 1 of 2: 4 prompts agree"]
