"""Tiny models that vLLM runs on a CPU (its attention there wants heads of 32 and more).

As a script it is one of two ranks, each with a model and a vLLM engine of its own.
"""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from accord.checkpoint.folder import save_model
from accord.config.generate import SamplingConfig
from accord.config.model import PRESETS, ModelConfig
from accord.model.decoder import Decoder
from accord.rollout.engine import Engine
from accord.rollout.vllm import VLLMEngine
from accord.text.tokenizer import Tokenizer
from accord.train import current_ranks

WORDS = "the cat sat on the mat and the dog sat there too, hello world"
TOKENIZER = Tokenizer.train([WORDS] * 3, vocab_size=290)
OPTIONS: dict[str, Any] = {"max_num_seqs": 8, "kv_cache_memory_bytes": 1 << 26}
GREEDY = SamplingConfig(temperature=0, max_new_tokens=24)

STYLES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1},
    "untied": {
        "num_key_value_heads": 1,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "gpt2": PRESETS["gpt2"],
}


def model(style: str, seed: int = 1, vocab_size: int = 300) -> Decoder:
    """A random model whose next-token distributions are far from flat."""
    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    decoder = Decoder.init(ModelConfig.model_validate(shape | STYLES[style]), seed=seed)
    generator = torch.Generator().manual_seed(seed + 10)
    with torch.no_grad():
        # tied to the embedding, so tokens would otherwise predict themselves
        decoder.norm.weight.mul_(torch.randn(64, generator=generator))
        for name, weight in decoder.named_parameters():
            if name.endswith("bias"):
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return decoder


def prompts() -> list[list[int]]:
    """Short and long ones, past a block of vLLM's cache."""
    return [*map(TOKENIZER.encode, ("the cat", "hello world, the dog sat", "a")), [5, 9] * 40]


def engine_of(style: str, folder: Path, **options: Any) -> VLLMEngine:
    """An engine on a folder that holds `model(style)`."""
    save_model(model(style), folder, TOKENIZER)
    return VLLMEngine(folder, TOKENIZER, **options)


def vllm_environment(set_variable: Callable[[str, str], Any]) -> None:
    """vLLM on a few threads of a shared machine, offline and silent."""
    set_variable("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    set_variable("VLLM_LOGGING_LEVEL", "ERROR")
    set_variable("HF_HUB_OFFLINE", "1")


def main(folder: Path) -> None:
    """Two engines after each other, each with two models; ranks have models of their own."""
    vllm_environment(os.environ.__setitem__)
    ranks = current_ranks()
    folder /= str(ranks.rank)
    # ranks need not ask for the same number of completions
    asked = prompts()[: 1 + 3 * ranks.rank]
    for seed in (1 + ranks.rank, 3 + ranks.rank):
        save_model(model("llama", seed), folder, TOKENIZER)
        engine = VLLMEngine(folder, TOKENIZER, **OPTIONS)
        answer(engine, model("llama", seed), asked)
        engine.update(model("llama", seed + 4).state_dict())
        answer(engine, model("llama", seed + 4), asked)
        del engine
        gc.collect()
        assert ranks.gather(ranks.rank) == [0, 1]  # the ranks' group outlives the engine
    print(f"rank {ranks.rank} of {ranks.world}: {len(asked)} prompts agree", flush=True)


def answer(engine: VLLMEngine, decoder: Decoder, asked: list[list[int]]) -> None:
    """Check that both engines say the same."""
    seeds = [0] * len(asked)
    want = Engine(decoder, TOKENIZER).generate(asked, GREEDY, seeds)
    assert [c.ids for c in engine.generate(asked, GREEDY, seeds)] == [c.ids for c in want]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
