"""The Tülu recipe on a tiny Llama: a Hugging Face folder in, a tenth of the pairs, a folder out."""

import json
import math
from pathlib import Path

import pytest
import torch

from accord.checkpoint.folder import load_config, save_model
from accord.config.load import load_recipe
from accord.config.model import ModelConfig
from accord.model.decoder import Decoder
from accord.pipeline.run import run
from accord.text import Tokenizer

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tulu-dpo.yaml"


def test_a_llama_folder_goes_in_and_an_aligned_one_comes_out(tmp_path: Path) -> None:
    texts = [f"Which number follows {i}? The number {i + 1} does." for i in range(60)]
    tokenizer = Tokenizer.train(texts, 380, pad_token="<|unused|>", chat_template="plain")
    torch.manual_seed(0)
    shape = ModelConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                        intermediate_size=48, max_position_embeddings=64)  # fmt: skip
    save_model(Decoder(shape), tmp_path / "llama", tokenizer)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):  # Llama's names no pad
        path = tmp_path / "llama" / name
        said = json.loads(path.read_text())
        del said["pad_token"]
        path.write_text(json.dumps(said))
    rows = [
        {
            "chosen": [
                {"role": "user", "content": f"Which number follows {i}?"},
                {"role": "assistant", "content": f"The number {i + 1} does."},
            ],
            "rejected": [
                {"role": "user", "content": f"Which number follows {i}?"},
                {"role": "assistant", "content": f"I do not know {i}."},
            ],
        }
        for i in range(200)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = json.dumps([{"source": str(pairs), "fraction": 0.1}])
    recipe = load_recipe(
        RECIPE,
        [f"dpo.from={tmp_path / 'llama'}", f"dpo.data={source}", "dpo.batch_size=4",
         "dpo.max_length=64", "dpo.precision=fp32", "dpo.micro_batch_tokens=null"],
    )  # fmt: skip
    config = recipe.stages["dpo"]
    assert (config.loss, config.beta, config.lr) == ("sigmoid_norm", 5.0, 5e-7)
    out = run(recipe, tmp_path / "run") / "dpo"
    lines = (out / "accord" / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    counts = json.loads((out / "accord" / "rows.json").read_text())
    assert 15 <= sum(part["kept"] for part in counts.values()) <= 20  # a tenth of 200
    aligned = Tokenizer.load(out)
    assert aligned.pad_token == "<|pad|>" and aligned.pad_id != aligned.end_id
    assert aligned.chat_template == "tulu"
    assert load_config(out).vocab_size % 8 == 0
