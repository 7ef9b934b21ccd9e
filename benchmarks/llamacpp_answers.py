"""Greedy tokens of llama.cpp for GGUF files: run by the Python of an environment with xllamacpp.

Reads one JSON object from standard input (`files`: path by name, `prompts`: ids, `new`: tokens of
an answer, `never`: ids that are not drawn) and prints one line of JSON a file.
"""

import json
import sys
from typing import Any

import xllamacpp as llama

CONTEXT = 1024


def parameters(path: str) -> Any:
    """Everything in float32, on one thread, without what would look for memory first."""
    found = llama.CommonParams()
    found.model.path = path
    found.n_ctx, found.n_parallel, found.cpuparams.n_threads = CONTEXT, 1, 1
    found.cache_type_k = found.cache_type_v = llama.ggml_type.GGML_TYPE_F32
    found.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    found.warmup = found.fit_params = False
    found.verbosity = 0
    return found


def answers(path: str, asked: dict[str, Any]) -> list[list[int]]:
    """The tokens after each prompt."""
    server = llama.Server(parameters(path))
    fixed = {
        "n_predict": asked["new"],
        "temperature": 0,
        "return_tokens": True,
        "verbose": True,
        "cache_prompt": False,
        "logit_bias": [[token, False] for token in asked["never"]],
    }
    return [
        server.handle_completions({"prompt": prompt, **fixed})["__verbose"]["tokens"]
        for prompt in asked["prompts"]
    ]


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    for name, file in wanted["files"].items():
        try:
            told = {"name": name, "tokens": answers(file, wanted)}
        except Exception as error:  # the library's own kinds of errors
            told = {"name": name, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)
