"""Writing what a stage is to start from, and reading what it has left."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from accord.checkpoint.folder import save_model
from accord.config.model import ModelConfig
from accord.model.decoder import Decoder
from accord.text.tokenizer import Tokenizer

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}


def make_model(folder: Path, texts: Iterable[str], seed: int = 3) -> Path:
    tokenizer = Tokenizer.train(texts, vocab_size=300, chat_template="chatml")
    config = ModelConfig(vocab_size=len(tokenizer), **SHAPE)
    save_model(Decoder.init(config, seed), folder, tokenizer)
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def record(folder: Path, name: str) -> Any:
    return json.loads((folder / "accord" / name).read_text())


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "accord" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def letters(answer: Any) -> float:
    """A reward: letters of the completion, and a little for its even token ids."""
    return sum(c.isalpha() for c in answer.completion) + 0.01 * sum(i % 2 for i in answer.ids)
