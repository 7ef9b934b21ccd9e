"""Every dense family against transformers: logits, cached and uncached, text, and folders."""

import json
from pathlib import Path

import pytest
import torch
from family_models import CASES, WRITTEN_AS, theirs
from safetensors.torch import load_file

from accord.checkpoint.folder import load_config, load_model, save_model
from accord.checkpoint.names import config_from_hf
from accord.config.generate import SamplingConfig
from accord.model import Decoder, KVCache, Plan
from accord.rollout.decode import Fused
from accord.rollout.engine import Engine
from accord.text.tokenizer import Tokenizer

pytestmark = pytest.mark.peer
EVERY = pytest.mark.parametrize("name", CASES)
LONG = 80
"""Tokens read: beyond every window and beyond the length before scaling."""
NEAR = {"atol": 1e-5, "rtol": 0}


def ids_of(rows: int, time: int) -> torch.Tensor:
    return torch.randint(37, (rows, time), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def uncached(decoder: Decoder, ids: torch.Tensor) -> torch.Tensor:
    rows, time = ids.shape
    position = torch.arange(time).repeat(rows)
    hidden = decoder(ids.flatten(), position, Plan.dense(rows, time))
    return decoder.logits(hidden).view(rows, time, -1)


@torch.no_grad()
def cached(decoder: Decoder, ids: torch.Tensor, prefilled: int) -> torch.Tensor:
    """Logits read with the cache: a prompt of different lengths by row, then token by token."""
    rows, time = ids.shape
    slots, lengths = list(range(rows)), [prefilled + row for row in range(rows)]
    cache = KVCache(decoder.config, rows, time, torch.float32, "cpu")
    forward = Fused(decoder)
    attend = cache.prefill(slots, lengths)
    prompt = torch.cat([row[:length] for row, length in zip(ids, lengths, strict=True)])
    parts = decoder.logits(forward(prompt, attend.position_N, attend)).split(lengths)
    found = [[part] for part in parts]
    for step in range(time - max(lengths)):
        attend = cache.step(slots)
        token = torch.stack([ids[row, length + step] for row, length in enumerate(lengths)])
        logits = decoder.logits(forward(token, attend.position_N, attend))
        for row in slots:
            found[row].append(logits[row, None])
    return torch.stack([torch.cat(row)[: time - rows] for row in found])


@EVERY
def test_their_logits_cached_and_uncached(name: str, tmp_path: Path) -> None:
    model, ids = theirs(name), ids_of(3, LONG)
    model.save_pretrained(tmp_path)
    decoder = load_model(tmp_path)
    with torch.no_grad():
        want = model(ids).logits
    torch.testing.assert_close(uncached(decoder, ids), want, **NEAR)
    torch.testing.assert_close(cached(decoder, ids, 4), want[:, : LONG - 3], **NEAR)


@EVERY
def test_a_folder_of_ours_loads_there_with_the_same_logits(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, ids = theirs(name), ids_of(2, LONG)
    model.save_pretrained(tmp_path / "theirs")
    decoder = load_model(tmp_path / "theirs")
    save_model(decoder, tmp_path / "ours")
    kind = json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"]
    assert kind == WRITTEN_AS.get(name, model.config.model_type)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, uncached(decoder, ids), **NEAR)
    resolved = {"head_dim": decoder.config.head_size}
    assert load_config(tmp_path / "ours").model_copy(update=resolved) == decoder.config.model_copy(
        update=resolved
    )


@EVERY
def test_save_load_save_keeps_every_byte(name: str, tmp_path: Path) -> None:
    theirs(name).save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "a")
    save_model(load_model(tmp_path / "a"), tmp_path / "b")
    for file in ("model.safetensors", "config.json", "generation_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    there = load_file(tmp_path / "theirs" / "model.safetensors")
    here = load_file(tmp_path / "a" / "model.safetensors")
    assert sorted(here) == sorted(there)
    assert all(torch.equal(here[key], there[key]) for key in there)


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return Tokenizer.train(["words and more words, and others"] * 3, 280)


@EVERY
def test_greedy_text_is_theirs_in_a_left_padded_batch(
    name: str, letters: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs(name, vocab_size=len(letters)).save_pretrained(tmp_path / "theirs")
    decoder = load_model(tmp_path / "theirs")
    save_model(decoder, tmp_path / "ours", letters)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    fast = AutoTokenizer.from_pretrained(tmp_path / "ours", padding_side="left")
    texts = ["words", "more words and", "and others, and words and more others and no end to it"]
    batch = fast(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        made = model.generate(**batch, max_new_tokens=24, do_sample=False)
    want = fast.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    prompts = [letters.encode(text) for text in texts]
    sampling = SamplingConfig(temperature=0, max_new_tokens=24)
    engine = Engine(load_model(tmp_path / "ours"), letters)
    engine.forbidden = ()  # transformers may draw the pad token
    done = engine.generate(prompts, sampling, [0] * 3)
    assert [letters.decode(c.ids, skip_special_tokens=True) for c in done] == want


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama 3.1", "mistral", "qwen2 tied", "qwen3"])
def test_half_precision_shards_of_theirs_are_read_to_the_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = theirs(name).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    decoder = load_model(tmp_path)
    assert decoder.embedding.weight.dtype == dtype
    save_model(decoder, tmp_path / "whole")
    here, there = load_file(tmp_path / "whole" / "model.safetensors"), model.state_dict()
    assert all(torch.equal(value, there[key]) for key, value in here.items())
    ids = ids_of(1, LONG)
    exact = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        want = exact(ids).logits
    wide = load_model(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(uncached(wide, ids), want, **NEAR)


def test_a_hub_folder_of_llama_3_1_is_read_from_its_older_keys() -> None:
    hub = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05,
        "vocab_size": 128256,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
    }
    scaling = config_from_hf(hub).rope_scaling
    assert scaling is not None
    assert (scaling.rope_type, scaling.factor) == ("llama3", 8.0)
    assert scaling.original_max_position_embeddings == 8192
