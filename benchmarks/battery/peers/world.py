"""A tiny model, its tokenizer and rows, in the formats that TRL reads."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from battery.peers.lives import lived

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = (
    *("the", "a", "red", "blue", "old", "small", "big", "dog", "cat", "bird", "sees", "likes"),
    *("takes", "gives", "tree", "house", "river"),
)


class World(NamedTuple):
    """Where the parts lie."""

    home: Path
    model: Path
    sft: Path
    pairs: Path


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(3, 14))) + "."


def sft_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a prompt and a completion, every one different."""
    draw = random.Random(seed)
    return [
        {"prompt": f"{n} {sentence(draw)}", "completion": f" {sentence(draw)}"}
        for n in range(count)
    ]


def pair_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a prompt with a wanted and an unwanted answer."""
    draw = random.Random(seed)
    return [
        {
            "prompt": f"{n} {sentence(draw)}",
            "chosen": f" {sentence(draw)}",
            "rejected": f" {sentence(draw)}",
        }
        for n in range(count)
    ]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with ChatML's control tokens, trained on our few words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PAD, eos_token=END)
    wrapped.chat_template = CHATML
    wrapped.save_pretrained(folder)


def model(folder: Path, seed: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=304,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def models(folder: Path, seed: int) -> None:
    model(folder, seed)
    tokenizer(folder)


def made(home: Path, rows: int = 24, seed: int = 1) -> World:
    """The whole world in an empty folder; the peer's own libraries write it, in a life."""
    home.mkdir(parents=True, exist_ok=True)
    ended = lived(home / "log", 300, models, home / "model", seed)
    if ended.code:
        raise RuntimeError(f"no model to begin with: {ended.last_line}")
    return World(
        home,
        home / "model",
        written(home / "sft.jsonl", sft_rows(rows, seed)),
        written(home / "pairs.jsonl", pair_rows(rows, seed)),
    )
