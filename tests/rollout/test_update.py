"""New weights handed to an engine: it answers as an engine made with them."""

import pytest
import torch

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.rollout.engine import Engine

from .models import LetterTokenizer, tiny

TOKENIZER = LetterTokenizer()
SAMPLING = SamplingConfig(max_new_tokens=20)
PROMPTS = [[1, 2], [3], [4, 5, 6, 7]]
CONFIGS = {
    "gpt2": ("gpt2", {}),
    "llama": ("llama", {}),
    "untied": ("llama", {"tie_word_embeddings": False}),
}


def other(model: Decoder) -> Decoder:
    """A model of the same shape with other weights."""
    changed = Decoder.init(model.config, seed=9)
    with torch.no_grad():
        changed.norm.weight.copy_(model.norm.weight.flip(0))
    return changed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_after_an_update_the_engine_is_one_of_the_new_weights(name, dtype):
    style, changes = CONFIGS[name]
    model = tiny(style, **changes).to(dtype)
    engine, new = Engine(model, TOKENIZER), other(tiny(style, **changes))
    before = engine.generate(PROMPTS, SAMPLING, range(3))
    engine.update(dict(new.named_parameters()))
    after = engine.generate(PROMPTS, SAMPLING, range(3))
    assert after == Engine(new.to(dtype), TOKENIZER).generate(PROMPTS, SAMPLING, range(3))
    assert after != before


def test_weights_changed_in_place_count_too():
    model = tiny("llama")
    engine, new = Engine(model, TOKENIZER), other(model)
    engine.generate(PROMPTS, SAMPLING, range(3))
    for parameter, given in zip(model.parameters(), new.parameters(), strict=True):
        parameter.data.copy_(given.data)  # unseen by autograd's version counter
    want = Engine(new, TOKENIZER).generate(PROMPTS, SAMPLING, range(3))
    assert engine.generate(PROMPTS, SAMPLING, range(3)) == want


def test_an_update_does_not_follow_its_source():
    model = tiny("llama")
    engine, new = Engine(model, TOKENIZER), other(model)
    engine.update(dict(new.named_parameters()))
    want = engine.generate(PROMPTS, SAMPLING, range(3))
    with torch.no_grad():
        new.embedding.weight.zero_()
    assert engine.generate(PROMPTS, SAMPLING, range(3)) == want
    assert all(parameter.requires_grad for parameter in engine.model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w | {"layers.0.attention.qery.weight": w["norm.weight"]},
            "did you mean .*query",
        ),
        (
            lambda w: {k: v for k, v in w.items() if k != "norm.weight"},
            "norm.weight' of shape None",
        ),
        (lambda w: w | {"norm.weight": torch.ones(31)}, r"norm.weight' of shape \(31,\).*\(32,\)"),
    ],
    ids=["unknown", "missing", "shape"],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, message):
    model = tiny("llama")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with pytest.raises(AccordError, match=message):
        Engine(model, TOKENIZER).update(change(dict(other(model).named_parameters())))
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
