"""A completion depends on its prompt, its settings and its seed: on nothing else."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.plan import Plan
from accord.rollout.engine import Engine
from accord.rollout.sampling import forbid_ngrams, penalise_repetition, truncated
from accord.text.tokenizer import Tokenizer

from .models import LetterTokenizer, tiny

STYLES = ("gpt2", "llama")
TOKENIZER = LetterTokenizer()
MODELS = {style: tiny(style) for style in STYLES}
WINDOWED = tiny("llama", sliding_windows=(6, None))
prompts_of_letters = st.lists(
    st.lists(st.integers(0, 25), min_size=1, max_size=20), min_size=1, max_size=9
)


def endless() -> Engine:
    """An engine whose end token is forbidden, so that every completion reaches its limit."""
    engine = Engine(MODELS["llama"], TOKENIZER)
    engine.end_ids, engine.forbidden = frozenset(), (26, 27)
    return engine


def slow_completion(model, prompt, sampling, banned=(27, 28, 29, 30, 31)):
    """Greedy decoding without a cache: the whole sequence is read again for every token."""
    ids, logps = list(prompt), []
    for _ in range(sampling.max_new_tokens):
        history = torch.tensor([ids])
        hidden = model(history[0], torch.arange(len(ids)), Plan.dense(1, len(ids)))
        logits = model.logits(hidden[-1:]).detach()
        logits = penalise_repetition(logits, history, sampling.repetition_penalty)
        if sampling.no_repeat_ngram_size:
            size = sampling.no_repeat_ngram_size
            logits = forbid_ngrams(logits, history, torch.tensor([len(ids)]), size)
        logits[:, list(banned)] = -math.inf
        logp = truncated(logits, sampling)[0]
        ids.append(int(logp.argmax()))
        logps.append(float(logp.max()))
        if ids[-1] == 26:
            break
    return ids[len(prompt) :], logps


@pytest.mark.parametrize(
    "changes", [{}, {"repetition_penalty": 1.5}, {"no_repeat_ngram_size": 2}], ids=str
)
@pytest.mark.parametrize("model", [*MODELS.values(), WINDOWED], ids=[*STYLES, "windowed"])
def test_cached_batched_greedy_is_uncached_greedy(model, changes):
    sampling = SamplingConfig(temperature=0, max_new_tokens=30, **changes)
    prompts = [[3], [1, 2, 3, 4, 5, 6, 7], [9, 9, 9, 9], list(range(20))]
    done = Engine(model, TOKENIZER).generate(prompts, sampling, [0] * 4, batch_size=3)
    for prompt, completion in zip(prompts, done, strict=True):
        ids, logps = slow_completion(model, prompt, sampling)
        assert list(completion.ids) == ids
        torch.testing.assert_close(
            torch.tensor(completion.logps), torch.tensor(logps), atol=1e-5, rtol=0
        )


@settings(deadline=None, max_examples=15)
@given(
    prompts=prompts_of_letters,
    style=st.sampled_from(STYLES),
    batch_size=st.integers(1, 9),
    sampling=st.sampled_from(
        [
            SamplingConfig(max_new_tokens=24),
            SamplingConfig(max_new_tokens=24, temperature=0.8, top_k=8, top_p=0.9),
            SamplingConfig(max_new_tokens=24, repetition_penalty=1.3, no_repeat_ngram_size=3),
            SamplingConfig(max_new_tokens=24, top_p=0.8, stop=("ab", "z")),
        ]
    ),
)
def test_a_completion_does_not_depend_on_its_neighbours(prompts, style, batch_size, sampling):
    engine = Engine(MODELS[style], TOKENIZER)
    seeds = range(len(prompts))
    together = engine.generate(prompts, sampling, seeds, batch_size)
    backwards = engine.generate(prompts[::-1], sampling, seeds[::-1], len(prompts))[::-1]
    for prompt, seed, *versions in zip(prompts, seeds, together, backwards, strict=True):
        [alone] = engine.generate([prompt], sampling, [seed])
        for version in versions:
            assert (version.ids, version.finished, version.text) == (
                alone.ids,
                alone.finished,
                alone.text,
            )
            torch.testing.assert_close(version.logps, alone.logps, atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_completion_and_another_another():
    engine, sampling = endless(), SamplingConfig(max_new_tokens=20)
    first, again, other = engine.generate([[1, 2]] * 3, sampling, [7, 7, 8])
    assert first.ids == again.ids != other.ids
    assert engine.generate([[1, 2]] * 3, sampling, [7, 7, 8]) == [first, again, other]


def test_more_new_tokens_extend_a_completion():
    engine = endless()
    [short] = engine.generate([[1, 2]], SamplingConfig(max_new_tokens=5), [3])
    [long] = engine.generate([[1, 2]], SamplingConfig(max_new_tokens=15), [3])
    assert long.ids[:5] == short.ids


def test_first_tokens_are_drawn_at_the_models_probabilities():
    model, draws = MODELS["gpt2"], 4000
    sampling = SamplingConfig(max_new_tokens=1)
    done = Engine(model, TOKENIZER).generate([[4, 5]] * draws, sampling, range(draws), 500)
    seen = torch.bincount(torch.tensor([c.ids[0] for c in done]), minlength=27).double()
    hidden = model(torch.tensor([4, 5]), torch.arange(2), Plan.dense(1, 2))[-1]
    expected = model.logits(hidden)[:27].softmax(-1).double().detach() * draws
    often = expected >= 5
    terms = ((seen - expected) ** 2 / expected)[often].sum()
    freedom = int(often.sum())
    assert terms <= freedom + 4 * math.sqrt(2 * freedom)


def test_padding_rows_and_the_pad_token_are_never_drawn():
    model = tiny("llama")
    with torch.no_grad():
        model.embedding.weight[27:] = 50 * model.norm.weight  # their logits are huge
        hidden = model(torch.tensor([1]), torch.arange(1), Plan.dense(1, 1))
        assert model.logits(hidden).argmax() >= 27
    for temperature in (0, 1):
        sampling = SamplingConfig(max_new_tokens=20, temperature=temperature)
        done = Engine(model, TOKENIZER).generate([[1, 2]] * 20, sampling, range(20))
        assert all(token < 27 for completion in done for token in completion.ids)


def test_a_pad_token_that_is_the_end_token_may_be_drawn():
    class PadIsEnd(LetterTokenizer):
        pad_id = 26

    engine = Engine(MODELS["llama"], PadIsEnd())
    done = engine.generate([[1]] * 200, SamplingConfig(), range(200))
    assert any(completion.finished == "end" for completion in done)


def test_the_end_token_is_among_the_ids_but_not_in_the_text():
    done = Engine(MODELS["llama"], TOKENIZER).generate(
        [[1]] * 100, SamplingConfig(max_new_tokens=20), range(100), batch_size=16
    )
    kinds = {"end": 0, "length": 0}
    for completion in done:
        kinds[completion.finished] += 1
        ended = completion.finished == "end"
        assert (26 in completion.ids) == ended
        shown = completion.ids[:-1] if ended else completion.ids
        assert completion.text == TOKENIZER.decode(shown)
        assert ended or len(completion.ids) == 20
        assert len(completion.ids) == len(completion.logps)
    assert min(kinds.values()) > 0


def test_further_stop_tokens_end_a_completion():
    engine = Engine(MODELS["llama"], TOKENIZER, stop_ids=[5])
    done = engine.generate([[1]] * 50, SamplingConfig(max_new_tokens=40), range(50))
    stopped = [completion for completion in done if completion.finished == "stop"]
    assert stopped
    assert all(c.ids[-1] == 5 and 5 not in c.ids[:-1] and "f" not in c.text for c in stopped)


def test_a_stop_string_may_span_tokens_and_is_cut_off():
    engine, sampling = endless(), SamplingConfig(max_new_tokens=40)
    [free] = engine.generate([[1, 2]], sampling, [5])
    stop = free.text[10:14]
    at = free.text.find(stop)
    sampling = SamplingConfig(max_new_tokens=40, stop=("never", stop))
    [cut] = engine.generate([[1, 2]], sampling, [5])
    assert cut.finished == "stop"
    assert cut.text == free.text[:at]
    assert cut.ids == free.ids[: at + 4]  # what was drawn stays: one letter a token


def test_stop_strings_are_found_across_byte_level_tokens():
    text = "the cat sat on the mat, नमस्ते दुनिया, and the dog sat there too"
    tokenizer = Tokenizer.train([text] * 3, vocab_size=290)
    model = tiny("llama", vocab_size=len(tokenizer) + 3)
    engine, sampling, tried = Engine(model, tokenizer), SamplingConfig(max_new_tokens=40), 0
    prompt = tokenizer.encode("the cat")
    for seed in range(20):
        [free] = engine.generate([prompt], sampling, [seed])
        piece = re.search(r"[ -~]{3}", free.text[3:])
        if piece is None:
            continue
        tried += 1
        changed = sampling.model_copy(update={"stop": (piece[0],)})
        [cut] = engine.generate([prompt], changed, [seed])
        assert cut.text == free.text[: free.text.find(piece[0])]
        assert cut.finished == "stop"
        assert cut.ids == free.ids[: len(cut.ids)]
        assert piece[0] not in tokenizer.decode(cut.ids[:-1])
    assert tried >= 5


def test_temperature_has_an_effect():
    engine = endless()
    distinct = []
    for temperature in (0.001, 3.0):
        sampling = SamplingConfig(max_new_tokens=10, temperature=temperature)
        distinct.append(len({c.ids for c in engine.generate([[1]] * 20, sampling, range(20))}))
    cold, hot = distinct
    assert cold <= 2
    assert hot == 20


def test_generation_stops_at_the_models_last_position():
    [completion] = endless().generate([[1] * 60], SamplingConfig(max_new_tokens=50), [0])
    assert (len(completion.ids), completion.finished) == (4, "length")


def test_bf16_models_give_fp32_log_probabilities():
    engine = Engine(tiny("llama").bfloat16(), TOKENIZER)
    done = engine.generate([[1, 2, 3], [4]], SamplingConfig(max_new_tokens=8), [0, 1])
    assert all(-20 < logp <= 0 for completion in done for logp in completion.logps)


def test_prompts_too_many_for_one_prefill_join_in_turns(monkeypatch):
    engine, sampling = endless(), SamplingConfig(max_new_tokens=6)
    prompts = [[i % 26] * (1 + i % 7) for i in range(20)]
    at_once = engine.generate(prompts, sampling, range(20))
    monkeypatch.setattr("accord.rollout.batch._PREFILL_TOKENS", 9)
    assert [c.ids for c in engine.generate(prompts, sampling, range(20))] == [
        c.ids for c in at_once
    ]


def test_no_prompts_give_no_completions():
    assert endless().generate([], SamplingConfig(), []) == []


@pytest.mark.parametrize(
    ("prompts", "seeds", "batch_size", "message"),
    [
        ([[1], []], [0, 1], 4, r"no tokens\n  where: prompt 1"),
        ([[1], [1] * 64], [0, 1], 4, r"64 tokens leaves no room.*64 positions\n  where: prompt 1"),
        ([[1, 28]], [0], 4, r"outside the tokenizer's 0 to 27\n  where: prompt 0"),
        ([[-1]], [0], 4, r"outside the tokenizer's 0 to 27"),
        ([[1], [2]], [0], 4, "2 prompts came with 1 seeds"),
        ([[1]], [0], 0, "batch_size is 0"),
        ([[1]], [-4], 4, "seed -4 is negative"),
    ],
)
def test_what_cannot_be_generated_is_refused(prompts, seeds, batch_size, message):
    with pytest.raises(AccordError, match=message):
        endless().generate(prompts, SamplingConfig(), seeds, batch_size)


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(AccordError, match="28 tokens, the model's embedding 16 rows"):
        Engine(tiny("llama", vocab_size=16), TOKENIZER)


def test_a_model_of_nans_is_refused():
    model = tiny("llama")
    with torch.no_grad():
        model.norm.weight.fill_(math.nan)
    with pytest.raises(AccordError, match=r"not finite\n  where: prompt 0\n  fix: .*NaN"):
        Engine(model, TOKENIZER).generate([[1]], SamplingConfig(), [0])


def test_settings_that_forbid_every_token_are_refused():
    sampling = SamplingConfig(no_repeat_ngram_size=1, max_new_tokens=40)
    with pytest.raises(AccordError, match="forbid every token"):
        endless().generate([[1]], sampling, [0])
