"""Generation beside transformers' `generate` and a plain loop: medians of interleaved runs.

    python benchmarks/generation.py [--threads 1] [--repeats 5] [--quick] [--compile] [--json FILE]

The study model (2 layers, 128 wide, 2 heads, 8,000 tokens tied, random weights) completes prompts
of 64 tokens by 128 tokens drawn at temperature 1, with no early stop. `--compile` adds
transformers' static cache with a compiled forward (its compilation is not counted). Figures are
new tokens a second: the median, and the slowest to the fastest run.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from accord.config.generate import SamplingConfig
from accord.config.model import ModelConfig
from accord.model import Decoder
from accord.rollout.engine import Engine

PROMPT, NEW, VOCABULARY = 64, 128, 8000
Prompts = list[list[int]]


class EndlessTokenizer:
    """Has no token that ends a completion, so that every contender draws the same number."""

    end_id, pad_id = -1, None

    def __len__(self) -> int:
        return VOCABULARY

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


def accord(dtype: torch.dtype) -> Callable[[Prompts], object]:
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=344,
        max_position_embeddings=256,
    )
    engine = Engine(Decoder.init(config, seed=0).to(dtype), EndlessTokenizer())  # type: ignore[arg-type]
    sampling = SamplingConfig(max_new_tokens=NEW)
    return lambda prompts: engine.generate(prompts, sampling, range(len(prompts)))


def peer(dtype: torch.dtype) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=344,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def hf_generate(model: LlamaForCausalLM, **settings: object) -> Callable[[Prompts], object]:
    def run(prompts: Prompts) -> object:
        ids = torch.tensor(prompts)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=NEW,
            pad_token_id=0,
            **settings,
        )
        assert out.shape[1] == PROMPT + NEW
        return out

    return run


def plain_loop(model: LlamaForCausalLM) -> Callable[[Prompts], object]:
    @torch.inference_mode()
    def run(prompts: Prompts) -> object:
        ids, cache, drawn = torch.tensor(prompts), None, []
        for _ in range(NEW):
            out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            ids = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1)
            drawn.append(ids)
        return torch.cat(drawn, 1)

    return run


def compiled_peer(dtype: torch.dtype) -> Callable[[Prompts], object]:
    model = peer(dtype)
    model.forward = torch.compile(model.forward)
    return hf_generate(model, cache_implementation="static")


def contenders(dtype: torch.dtype, compile_peer: bool) -> dict[str, Callable[[Prompts], object]]:
    model = peer(dtype)
    named = {
        "accord": accord(dtype),
        "transformers generate": hf_generate(model),
        "transformers static cache": hf_generate(model, cache_implementation="static"),
        "plain loop": plain_loop(model),
    }
    if compile_peer:
        named["transformers compiled"] = compiled_peer(dtype)
    return named


def measure(
    named: dict[str, Callable[[Prompts], object]], batch: int, repeats: int
) -> dict[str, list[float]]:
    """Tokens a second of each contender, one run of each in turn."""
    generator = torch.Generator().manual_seed(batch)
    prompts = torch.randint(0, VOCABULARY, (batch, PROMPT), generator=generator).tolist()
    speeds: dict[str, list[float]] = {name: [] for name in named}
    for repeat in range(repeats + 1):
        for name, run in named.items():
            start = time.perf_counter()
            run(prompts)
            if repeat:  # the first round warms up
                speeds[name].append(batch * NEW / (time.perf_counter() - start))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two repeats, batches of 1 and 8")
    parser.add_argument("--compile", action="store_true", help="add transformers compiled")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/generation.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.precision]
    named = contenders(dtype, args.compile)
    rows = []
    for batch in (1, 8) if args.quick else (1, 8, 64):
        speeds = measure(named, batch, 2 if args.quick else args.repeats)
        ours = statistics.median(speeds["accord"])
        print(f"\nbatch {batch}: prompt {PROMPT} + {NEW} new tokens, {args.precision}")
        for name, values in speeds.items():
            median = statistics.median(values)
            print(
                f"  {name:26} {median:9,.0f} tok/s  [{min(values):,.0f} to {max(values):,.0f}]"
                f"  accord is {ours / median:.1f}x"
            )
            rows.append({"batch": batch, "contender": name, "tokens_per_second": values})
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {
        "threads": args.threads,
        "precision": args.precision,
        "machine": platform.processor() or platform.machine(),
        "versions": versions,
        "rows": rows,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
