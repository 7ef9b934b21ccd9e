"""The decoder: sizes that the papers state, repeatable weights, and its seams."""

from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from accord.config.model import PRESETS, ModelConfig
from accord.data.batch import Layout
from accord.model import Decoder, Plan

SMALL = ModelConfig(
    vocab_size=17,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    tie_word_embeddings=False,
)


def parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Decoder(config).parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    gpt2 = PRESETS["gpt2-124m"]
    assert parameters(ModelConfig(**gpt2, vocab_size=50_257)) == 124_439_808
    assert parameters(ModelConfig(**gpt2, vocab_size=50_304)) == 124_475_904
    # the study's decoder, which its source calls "1M"
    study = ModelConfig(
        vocab_size=8000,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
    tied = parameters(study)
    assert parameters(study.model_copy(update={"tie_word_embeddings": False})) == tied + 1_024_000


def test_the_same_seed_gives_the_same_bytes_and_touches_no_global_generator() -> None:
    state = torch.random.get_rng_state()
    first, second, other = (Decoder.init(SMALL, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_initial_weights_have_the_stated_spread() -> None:
    config = SMALL.model_copy(
        update={"hidden_size": 256, "vocab_size": 500, "intermediate_size": 512}
    )
    decoder = Decoder.init(config, 0)
    layer = decoder.layers[0]
    spread = {name: weight.std().item() for name, weight in layer.named_parameters()}
    assert spread["attention.query.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["attention.out.weight"] == pytest.approx(0.02 / 2, rel=0.05)
    assert spread["mlp.down.weight"] == pytest.approx(0.02 / 2, rel=0.05)
    assert torch.equal(layer.mlp_norm.weight, torch.ones(256))


def test_the_head_is_the_embedding_where_they_are_tied() -> None:
    tied = Decoder.init(SMALL.model_copy(update={"tie_word_embeddings": True}), 0)
    assert tied.head_weight_VD is tied.embedding.weight
    untied = Decoder.init(SMALL, 0)
    assert untied.head_weight_VD is not untied.embedding.weight
    hidden = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(untied.logits(hidden), hidden @ untied.head_weight_VD.T)


PACKED = Layout(
    torch.tensor([[0, 1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, -1, -1]]),
    torch.tensor([[0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, -1, -1]]),
    torch.tensor([[0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1, -1]]),
)


def gradients(decoder: Decoder, layout: Layout = PACKED) -> list[torch.Tensor]:
    decoder.zero_grad()
    ids = torch.arange(12) % 17
    hidden = decoder(ids, torch.arange(12) % 6, Plan.of(layout))
    decoder.logits(hidden).square().sum().backward()
    return [w.grad for w in decoder.parameters() if w.grad is not None]


def test_layers_can_be_checkpointed_without_a_change_of_names_or_gradients() -> None:
    plain, wrapped = Decoder.init(SMALL, 0), Decoder.init(SMALL, 0)
    calls = []

    def wrap(forward):
        def counted(*args):
            calls.append(1)
            return forward(*args)

        return partial(checkpoint, counted, use_reentrant=False)

    for layer in wrapped.layers:
        layer.forward = wrap(layer.forward)
    assert list(wrapped.state_dict()) == list(plain.state_dict())
    for got, want in zip(gradients(wrapped), gradients(plain), strict=True):
        assert torch.equal(got, want)
    assert len(calls) == 4  # each of two layers forward, and again in the backward pass


@pytest.mark.parametrize("preset", ["llama", "gpt2"])
def test_every_weight_takes_part(preset: str) -> None:
    kept = ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size")
    shape = {key: getattr(SMALL, key) for key in kept}
    decoder = Decoder.init(ModelConfig(**{**PRESETS[preset], **shape}, initializer_range=0.3), 0)
    gradients(decoder)
    for name, weight in decoder.named_parameters():
        assert weight.grad is not None, name
        # softmax does not change when all keys move alike
        if not name.endswith("key.bias"):
            assert weight.grad.abs().max() > 1e-3, name


@pytest.mark.slow
# torch warns of what its own tracer does
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("windows", [None, (3, None)])
def test_compiled_layers_agree_with_eager_ones(windows: tuple[int | None, ...] | None) -> None:
    config = SMALL.model_copy(update={"sliding_windows": windows})
    plain, compiled = Decoder.init(config, 0), Decoder.init(config, 0)
    for layer in compiled.layers:
        layer.forward = torch.compile(layer.forward, backend="aot_eager", fullgraph=True)
    dense = torch.arange(12).view(2, 6)
    for layout in (PACKED, Layout(dense, torch.zeros_like(dense), torch.zeros_like(dense))):
        for got, want in zip(gradients(compiled, layout), gradients(plain, layout), strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
