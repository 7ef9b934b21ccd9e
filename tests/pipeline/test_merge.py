"""`accord merge`, and chains of stages that start from adapters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import accord as api
from accord.checkpoint.adapter import adapted, save_adapter
from accord.checkpoint.folder import load_model, save_model
from accord.config.lora import LoRAConfig
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.pipeline.fingerprint import input_fingerprint
from accord.pipeline.single import stage_settings
from accord.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
LORA = LoRAConfig(r=4, lora_alpha=6)
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}


def make(
    home: Path, preset: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 1
) -> Path:
    """An adapter with random factors on a random base; gives its folder."""
    tokenizer = Tokenizer.train(["a fox and a crow", "a crow"], 260, chat_template="chatml")
    shape = {**PRESETS[preset], **SHAPE, "vocab_size": len(tokenizer)}
    config = ModelConfig.model_validate(shape)
    save_model(Decoder.init(config, seed), home / "base", tokenizer, dtype)
    decoder = adapted(load_model(home / "base", torch.float32), LORA, 5)
    generator = torch.Generator().manual_seed(seed)
    factors = {
        name: torch.randn(p.shape, generator=generator) * 0.3
        for name, p in decoder.named_parameters()
        if p.requires_grad
    }
    save_adapter(factors, config, LORA, home / "base", home / "adapter", tokenizer)
    return home / "adapter"


def their_logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([[5, 80, 3, 250, 99, 7]])).logits.float()


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("preset", ["llama", "gpt2"])
def test_transformers_computes_the_merged_folder_as_peft_does_the_adapter(
    tmp_path: Path, preset: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = make(tmp_path, preset)
    out = api.merge(adapter, tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = their_logits(base)
    expected = their_logits(PeftModel.from_pretrained(base, str(adapter)))
    found = their_logits(AutoModelForCausalLM.from_pretrained(out))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (plain - expected).abs().max() > 0.1
    ids = Tokenizer.load(adapter).encode("a fox")
    assert AutoTokenizer.from_pretrained(out)("a fox")["input_ids"] == ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_whole_model_is_in_the_base_s_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    adapter = make(tmp_path, dtype=dtype)
    out = api.merge(str(adapter), str(tmp_path / "merged"))
    assert json.loads((out / "config.json").read_text())["dtype"] == str(dtype).split(".")[1]
    merged, expected = load_model(out), load_model(adapter, torch.float32).state_dict()
    for name, weight in merged.state_dict().items():
        assert weight.dtype is dtype
        assert torch.equal(weight, expected[name].to(dtype))
    files = {path.name for path in out.iterdir()}
    assert {"README.md", "tokenizer.json", "generation_config.json"} <= files
    assert not {"adapter_config.json", "adapter_model.safetensors"} & files
    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert "`adapter` merged into `base`" in card


def test_an_adapter_without_tokenizer_gets_the_base_s(tmp_path: Path) -> None:
    adapter = make(tmp_path)
    for path in adapter.glob("*token*"):
        path.unlink()
    out = api.merge(adapter, tmp_path / "merged")
    expected = (tmp_path / "base" / "tokenizer.json").read_bytes()
    assert (out / "tokenizer.json").read_bytes() == expected
    assert api.load(adapter)[1].fingerprint == Tokenizer.load(tmp_path / "base").fingerprint


def test_what_is_no_adapter_and_what_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    adapter = make(tmp_path)
    for folder in (tmp_path / "base", tmp_path / "nowhere"):
        with pytest.raises(AccordError, match=r"no adapter to merge|no such model folder"):
            api.merge(folder, tmp_path / "merged")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out in (tmp_path / "base", adapter):
        with pytest.raises(AccordError, match="holds a model already"):
            api.merge(adapter, out)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_an_input_s_fingerprint_covers_the_base_beneath(tmp_path: Path) -> None:
    adapter = make(tmp_path / "one")
    mark = input_fingerprint(str(adapter))
    (tmp_path / "one").rename(tmp_path / "two")
    assert input_fingerprint(str(tmp_path / "two" / "adapter")) == mark
    shutil.rmtree(tmp_path / "two" / "base")
    other = make(tmp_path / "three", seed=2)
    shutil.copytree(tmp_path / "three" / "base", tmp_path / "two" / "base")
    assert input_fingerprint(str(other)) != mark
    assert input_fingerprint(str(tmp_path / "two" / "adapter")) != mark


def test_lengths_are_held_to_the_base_s_positions(tmp_path: Path) -> None:
    given = {"from": str(make(tmp_path)), "data": [{"source": "x.jsonl"}]}
    assert getattr(stage_settings("sft", given, []), "max_length") == 64  # noqa: B009


STAGES = ("tokenizer", "base", "sft", "dpo", "report")


@pytest.mark.slow
@pytest.mark.peer
def test_sft_dpo_report_and_generation_from_adapters(
    tmp_path: Path, accord: Callable[..., Any]
) -> None:
    """SFT with an adapter, DPO on from it, evaluation, generation, all of it moved, then merged."""
    from transformers import AutoModelForCausalLM

    recipe = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    recipe["stages"] = {name: recipe["stages"][name] for name in STAGES}
    recipe["stages"]["report"] |= {"policies": ["sft", "dpo"], "rewards": {}}
    for name in ("sft", "dpo"):
        recipe["stages"][name]["lora"] = {"r": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    accord_data(tmp_path)
    accord("run", "recipe.yaml", "--out", "run", cwd=tmp_path)
    run = tmp_path / "run"
    loss = json.loads((run / "dpo/accord/metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert loss == pytest.approx(0.6931472, abs=1e-5)
    for name in ("sft", "dpo"):
        settings = json.loads((run / name / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == str(run / "base")
        assert "library_name: peft" in (run / name / "README.md").read_text()
    assert (run / "report.html").exists()
    again = accord("run", "recipe.yaml", "--out", "run", cwd=tmp_path).stdout
    assert again.count("reused") == len(STAGES)
    run.rename(tmp_path / "moved")
    words = ("generate", "--model", "moved/dpo", "--prompt", "the", "--max-new-tokens", "8")
    assert accord(*words, cwd=tmp_path).stdout.startswith("the")
    accord("merge", "moved/dpo", "--out", "merged", cwd=tmp_path)
    ours = load_model(tmp_path / "moved" / "dpo").state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    name = "layers.1.self_attn.q_proj.weight"
    assert torch.equal(theirs[f"model.{name}"], ours["layers.1.attention.query.weight"])


def accord_data(folder: Path) -> None:
    import subprocess
    import sys

    script = ROOT / "examples" / "make_tiny_data.py"
    subprocess.run([sys.executable, script], cwd=folder, check=True)
