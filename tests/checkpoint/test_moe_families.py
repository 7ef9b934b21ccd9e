"""Mixtures of experts against transformers: logits, cached and uncached, text, and folders."""

import json
from pathlib import Path

import pytest
import torch
from moe_models import MIXTURES, mixture
from safetensors.torch import load_file, save_file

from accord.checkpoint.adapter_names import linear_layers
from accord.checkpoint.folder import load_config, load_model, save_model
from accord.checkpoint.names import config_from_hf, family_of
from accord.config.generate import SamplingConfig
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model import Decoder, KVCache, Plan
from accord.rollout.engine import Engine
from accord.text.tokenizer import Tokenizer

EVERY = pytest.mark.parametrize("name", MIXTURES)
NEAR = {"atol": 1e-5, "rtol": 0}
GRANITE = "granite, alternating"


def some_ids(rows: int, time: int) -> torch.Tensor:
    return torch.randint(37, (rows, time), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def read(decoder: Decoder, ids: torch.Tensor) -> torch.Tensor:
    rows, time = ids.shape
    position = torch.arange(time).repeat(rows)
    return decoder.logits(decoder(ids.flatten(), position, Plan.dense(rows, time))).view(
        rows, time, -1
    )


@torch.no_grad()
def read_cached(decoder: Decoder, ids: torch.Tensor, prefilled: int) -> torch.Tensor:
    """The logits of each row's last prompt token and of all after it, one by one."""
    rows, time = ids.shape
    slots = list(range(rows))
    cache = KVCache(decoder.config, rows, time, torch.float32, "cpu")
    attend = cache.prefill(slots, [prefilled] * rows)
    hidden = decoder(ids[:, :prefilled].flatten(), attend.position_N, attend)
    found = [hidden.view(rows, prefilled, -1)[:, -1]]
    for place in range(prefilled, time):
        attend = cache.step(slots)
        found.append(decoder(ids[:, place], attend.position_N, attend))
    return decoder.logits(torch.stack(found, 1))


@pytest.mark.peer
@EVERY
def test_logits_are_theirs_cached_uncached_and_beyond_the_window(name: str, tmp_path: Path) -> None:
    model, ids = mixture(name), some_ids(3, 40)
    model.save_pretrained(tmp_path)
    decoder = load_model(tmp_path)
    with torch.no_grad():
        want = model(ids).logits
    torch.testing.assert_close(read(decoder, ids), want, **NEAR)
    torch.testing.assert_close(read_cached(decoder, ids, 5), want[:, 4:], **NEAR)


@pytest.mark.peer
@EVERY
def test_saved_loaded_and_saved_again_it_is_the_same_there_and_here(
    name: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model, ids = mixture(name), some_ids(2, 40)
    model.save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "a", shard_bytes=20_000)
    decoder = load_model(tmp_path / "a")
    save_model(decoder, tmp_path / "b", shard_bytes=20_000)
    written = sorted(path.name for path in (tmp_path / "a").glob("*.json*"))
    shards = sorted(path.name for path in (tmp_path / "a").glob("*.safetensors"))
    assert len(shards) > 1
    for file in written + shards:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    there = load_file(tmp_path / "theirs" / "model.safetensors")
    here = {
        key: value for shard in shards for key, value in load_file(tmp_path / "a" / shard).items()
    }
    assert sorted(here) == sorted(there)
    assert all(torch.equal(here[key], there[key]) for key in there)
    assert load_config(tmp_path / "a") == load_config(tmp_path / "theirs")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "b", trust_remote_code=False).eval()
    assert type(again) is type(model)
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, read(decoder, ids), **NEAR)


@pytest.mark.peer
@EVERY
def test_greedy_text_is_theirs_beyond_the_window(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    letters = Tokenizer.train(["words and more words, and others"] * 3, 280)
    mixture(name, vocab_size=280).save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours", letters)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    engine = Engine(load_model(tmp_path / "ours"), letters)
    engine.forbidden = ()  # transformers may draw the pad token
    prompts = [letters.encode(text) for text in ("words", "more words and others, and more")]
    done = engine.generate(prompts, SamplingConfig(temperature=0, max_new_tokens=24), [0, 0])
    for prompt, completion in zip(prompts, done, strict=True):
        with torch.no_grad():
            made = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
        assert list(completion.ids) == made[0, len(prompt) :].tolist()


@pytest.mark.peer
@pytest.mark.parametrize("name", ["mixtral", "qwen3 moe", GRANITE])
def test_half_precision_is_read_to_the_bit(name: str, tmp_path: Path) -> None:
    model = mixture(name).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    decoder = load_model(tmp_path)
    assert decoder.embedding.weight.dtype == torch.bfloat16
    save_model(decoder, tmp_path / "again")
    here = load_file(tmp_path / "again" / "model.safetensors")
    there = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(here[key], there[key]) for key in there)


SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_experts": 4,
}


@pytest.mark.parametrize(
    ("own", "family"),
    [
        ({}, "mixtral"),
        ({"sliding_windows": (8, 8)}, "mixtral"),
        ({"sliding_windows": (8, None)}, "granitemoe_swa"),
        ({"attention_bias": True}, "granitemoe_swa"),
        ({"qk_norm": True}, "qwen3_moe"),
        ({"qk_norm": True, "norm_topk_prob": False}, "qwen3_moe"),
    ],
)
def test_a_shape_goes_to_the_family_that_says_it(own: dict[str, object], family: str) -> None:
    config = ModelConfig.model_validate({**SHAPE, **own})
    assert family_of(config).model_type == family


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"norm_topk_prob": False}, "add up to 1"),
        ({"sliding_windows": (8, 4)}, "windows are of one size"),
        ({"qk_norm": True, "sliding_windows": (8, None)}, "every layer attends to all positions"),
    ],
)
def test_what_no_family_says_is_refused_with_the_reason(
    own: dict[str, object], reason: str
) -> None:
    with pytest.raises(AccordError, match=reason):
        family_of(ModelConfig.model_validate({**SHAPE, **own}))


def test_the_window_of_distances_up_to_512_is_written_as_513(tmp_path: Path) -> None:
    config = ModelConfig.model_validate({**SHAPE, "sliding_windows": (513, None)})
    save_model(Decoder.init(config, 0), tmp_path)
    hf = json.loads((tmp_path / "config.json").read_text())
    assert hf["sliding_window"] == 513
    assert hf["layer_types"] == ["sliding_attention", "full_attention"]
    assert hf["attention_multiplier"] == 8**-0.5
    sinks = load_file(tmp_path / "model.safetensors")["model.layers.1.self_attn.sinks"]
    assert sinks.tolist() == [-1e4, -1e4]


def test_a_sink_that_takes_weight_is_refused(tmp_path: Path) -> None:
    config = ModelConfig.model_validate({**SHAPE, "sliding_windows": (8, None)})
    save_model(Decoder.init(config, 0), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.self_attn.sinks"][1] = 0.0
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(AccordError, match="sink that takes weight"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("kind", "own", "reason"),
    [
        ("qwen3_moe", {"mlp_only_layers": [0]}, "dense feed-forward"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "dense feed-forward"),
        ("granitemoe_swa", {"attention_multiplier": 1.0}, "attention_multiplier"),
        ("granitemoe_swa", {"layer_rope_theta": [0, 10_000.0]}, "layer_rope_theta"),
        ("granitemoe_swa", {"shared_intermediate_size": 8}, "shared_intermediate_size"),
        ("granitemoe_swa", {"residual_multiplier": 0.5}, "residual_multiplier"),
    ],
)
def test_what_accord_does_not_compute_is_not_read(
    kind: str, own: dict[str, object], reason: str
) -> None:
    hf = {
        "model_type": kind,
        **SHAPE,
        "attention_multiplier": 8**-0.5,
        "moe_intermediate_size": 8,
        **own,
    }
    with pytest.raises(AccordError, match=reason):
        config_from_hf(hf)


def test_routers_and_experts_take_no_adapter() -> None:
    kinds = {layer.kind for layer in linear_layers(ModelConfig.model_validate(SHAPE))}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj"}
