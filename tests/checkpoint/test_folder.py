"""Model folders: written as transformers reads them, read as it writes them, refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import OURS, theirs

from accord.checkpoint.folder import load_config, load_model, model_fingerprint, save_model
from accord.errors import AccordError
from accord.model import Decoder, KVCache, Plan
from accord.text.tokenizer import Tokenizer

IDS = torch.randint(19, (3, 21), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(decoder: Decoder) -> torch.Tensor:
    rows, time = IDS.shape
    position = torch.arange(time).repeat(rows)
    hidden = decoder(IDS.flatten(), position, Plan.dense(rows, time))
    return decoder.logits(hidden).view(rows, time, -1)


@torch.no_grad()
def greedy(decoder: Decoder, prompts: list[list[int]], steps: int) -> list[list[int]]:
    """Greedy continuation of prompts of any lengths, with the cache."""
    slots = list(range(len(prompts)))
    lengths = [len(prompt) for prompt in prompts]
    cache = KVCache(decoder.config, len(slots), 48, torch.float32, "cpu")
    attend = cache.prefill(slots, lengths)
    hidden = decoder(
        torch.tensor([token for prompt in prompts for token in prompt]), attend.position_N, attend
    )
    token = decoder.logits(hidden[torch.tensor(lengths).cumsum(0) - 1]).argmax(-1)
    new = [token]
    for _ in range(steps - 1):
        attend = cache.step(slots)
        token = decoder.logits(decoder(token, attend.position_N, attend)).argmax(-1)
        new.append(token)
    return torch.stack(new, 1).tolist()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(Decoder.init(OURS["llama-untied-grouped"], 0), tmp_path)
    return tmp_path


@pytest.mark.peer
@pytest.mark.parametrize("name", OURS)
def test_their_folder_gives_their_logits(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        want = model(IDS).logits
    torch.testing.assert_close(logits(load_model(tmp_path)), want, atol=1e-5, rtol=0)


@pytest.mark.peer
@pytest.mark.parametrize("name", OURS)
def test_our_folder_gives_our_logits_there_and_the_same_greedy_tokens(
    name: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    decoder = Decoder.init(OURS[name], 0)
    save_model(decoder, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits(decoder), atol=1e-5, rtol=0)
    prompts = [row[:length] for row, length in zip(IDS.tolist(), (5, 1, 12), strict=True)]
    ours = greedy(load_model(tmp_path), prompts, 20)
    for prompt, got in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False
        )
        assert made[0, len(prompt) :].tolist() == got


@pytest.mark.peer
@pytest.mark.parametrize("name", OURS)
def test_weights_written_by_transformers_are_written_back_alike(name: str, tmp_path: Path) -> None:
    model = theirs(name)
    model.save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    there = load_file(tmp_path / "theirs" / "model.safetensors")
    here = load_file(tmp_path / "ours" / "model.safetensors")
    assert sorted(here) == sorted(there)
    assert all(torch.equal(here[key], there[key]) for key in there)


@pytest.mark.parametrize("name", OURS)
def test_save_load_save_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    save_model(Decoder.init(OURS[name], 0), tmp_path / "a")
    save_model(load_model(tmp_path / "a"), tmp_path / "b")
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert model_fingerprint(tmp_path / "a") == model_fingerprint(tmp_path / "b")


def test_a_tied_weight_is_stored_once_with_the_format_named(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_model(Decoder.init(OURS["llama"], 0), tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
        assert file.metadata() == {"format": "pt"}


@pytest.mark.peer
def test_weights_above_the_limit_are_split_and_read_by_both(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    decoder = Decoder.init(OURS["gpt2-untied"], 0)
    save_model(decoder, tmp_path, shard_bytes=5000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == shards
    total = sum(weight.numel() * 4 for weight in decoder.parameters())
    assert index["metadata"]["total_size"] == total
    assert torch.equal(logits(load_model(tmp_path)), logits(decoder))
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits(decoder), atol=1e-5, rtol=0)
    # written anew in one file, no shard of the old model is left
    save_model(decoder, tmp_path)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]


FOREIGN = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<turn>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "ends"), [(FOREIGN, True), ("{{ messages | length }}", False)]
)
def test_generation_stops_where_a_template_of_ones_own_ends_a_turn(
    tmp_path: Path, template: str, ends: bool
) -> None:
    tokenizer = Tokenizer.train(["words and more words"] * 3, 280, special_tokens=["<turn>"])
    tokenizer = tokenizer.with_chat_template(template)
    config = OURS["llama"].model_copy(update={"vocab_size": 320})
    save_model(Decoder.init(config, 0), tmp_path, tokenizer)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    turn = [tokenizer.end_id, tokenizer.token_id("<turn>")]
    assert written["eos_token_id"] == (turn if ends else tokenizer.end_id)


@pytest.mark.peer
def test_the_tokenizer_stands_beside_the_model_and_its_end_in_the_configs(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = Tokenizer.train(["words and more words"] * 3, 270)
    config = OURS["llama"].model_copy(update={"vocab_size": 320})
    save_model(Decoder.init(config, 0), tmp_path, tokenizer, card="# A model\n")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["eos_token_id"] == tokenizer.end_id
    assert written["pad_token_id"] == tokenizer.pad_id
    assert written["vocab_size"] == 320 > len(tokenizer)
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert (generation.eos_token_id, generation.pad_token_id) == (
        tokenizer.end_id,
        tokenizer.pad_id,
    )
    fast = AutoTokenizer.from_pretrained(tmp_path)
    assert fast.model_max_length == 48
    assert fast("more words")["input_ids"] == tokenizer.encode("more words")
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    assert (tmp_path / "README.md").read_text() == "# A model\n"
    assert not (tmp_path / ".saving").exists()


def test_dtypes_of_the_file_and_of_the_model(tmp_path: Path) -> None:
    decoder = Decoder.init(OURS["llama"], 0)
    save_model(decoder, tmp_path, dtype=torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    stored = load_model(tmp_path)
    assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}
    asked = load_model(tmp_path, dtype=torch.float32)
    assert {weight.dtype for weight in asked.parameters()} == {torch.float32}
    assert torch.equal(asked.embedding.weight, decoder.embedding.weight.bfloat16().float())


def test_weights_given_stand_in_for_the_decoders_own(tmp_path: Path) -> None:
    decoder, other = Decoder.init(OURS["gpt2"], 0), Decoder.init(OURS["gpt2"], 1)
    save_model(decoder, tmp_path, weights=other.state_dict())
    assert torch.equal(logits(load_model(tmp_path)), logits(other))


def test_other_files_of_the_folder_are_left_alone_and_a_crashed_save_is_cleared(
    saved: Path,
) -> None:
    (saved / "accord").mkdir()
    (saved / "accord" / "stage.json").write_text("{}")
    (saved / ".saving").mkdir()
    (saved / ".saving" / "half").write_text("x")
    save_model(Decoder.init(OURS["llama"], 0), saved)
    assert (saved / "accord" / "stage.json").read_text() == "{}"
    assert load_config(saved) == load_model(saved).config
    assert not (saved / ".saving").exists()
    assert not (saved / "half").exists()


def test_a_save_cut_short_leaves_no_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        moved.append(self.name)
        if self.name == "config.json":
            raise OSError("the power went")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="the power went"):
        save_model(Decoder.init(OURS["llama"], 1), saved)
    assert moved[-1] == "config.json"
    with pytest.raises(AccordError, match=r"holds no config\.json"):
        load_model(saved)


def test_the_fingerprint_follows_weights_and_config(saved: Path) -> None:
    before = model_fingerprint(saved)
    (saved / "README.md").write_text("changed")
    assert model_fingerprint(saved) == before
    path = saved / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    changed = model_fingerprint(saved)
    assert changed != before
    save_model(Decoder.init(OURS["llama-untied-grouped"], 1), saved)
    assert model_fingerprint(saved) not in (before, changed)


def test_names_without_their_trunks_prefix_and_old_masks_are_read(tmp_path: Path) -> None:
    # the hub's first gpt2 folder is written so
    decoder = Decoder.init(OURS["gpt2"], 0)
    save_model(decoder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 48, 48)
    save_file(old, tmp_path / "model.safetensors")
    assert torch.equal(logits(load_model(tmp_path)), logits(decoder))


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_missing_left_over_and_misshapen_tensors_are_each_named(saved: Path) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        del weights["lm_head.weight"]
        weights["model.extra.weight"] = torch.zeros(1)
        weights["model.norm.weight"] = torch.zeros(7)

    change_weights(saved, spoil)
    with pytest.raises(AccordError) as caught:
        load_model(saved)
    assert "missing: lm_head.weight" in caught.value.what
    assert "not part of the model: model.extra.weight" in caught.value.what
    assert "of another shape: model.norm.weight [7] instead of [16]" in caught.value.what
    assert caught.value.where == str(saved)


def test_no_folder_no_config_no_weights(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no such model folder"):
        load_model(tmp_path / "absent")
    with pytest.raises(AccordError, match=r"holds no config\.json"):
        load_model(tmp_path)
    save_model(Decoder.init(OURS["llama"], 0), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(AccordError, match=r"holds no model\.safetensors and no"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_by_name(saved: Path, name: str) -> None:
    (saved / "model.safetensors").rename(saved / name)
    with pytest.raises(AccordError, match=rf"pickled \({name}\), and unpickling can run any code"):
        load_model(saved)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "weights.bin"])
def test_an_index_cannot_point_out_of_the_folder(saved: Path, name: str) -> None:
    (saved / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": name}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(AccordError, match="which is no safetensors file of this folder"):
        load_model(saved)


def test_a_shard_that_is_not_there_is_named(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-2.safetensors"}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(AccordError, match=r"lacks 'model-2\.safetensors'"):
        load_model(saved)
    (saved / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(AccordError, match="index names no weights"):
        load_model(saved)


def test_a_torn_file_is_named(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AccordError, match="no whole safetensors file") as caught:
        load_model(saved)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("text", "told"), [("{", "not valid JSON"), ("[]", "holds no JSON object")]
)
def test_a_spoilt_config_is_named(saved: Path, text: str, told: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(AccordError, match=told) as caught:
        load_config(saved)
    assert caught.value.where == str(saved / "config.json")


def test_remote_code_is_refused_by_load(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "a.B"}}))
    with pytest.raises(AccordError, match="needs code of its own"):
        load_model(saved)


def test_an_inexpressible_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = OURS["llama"].model_copy(update={"sliding_windows": (4, None)})
    with pytest.raises(AccordError, match="No Hugging Face family expresses"):
        save_model(Decoder.init(config, 0), tmp_path / "new")
    assert not (tmp_path / "new").exists()
