"""GGUF files in llama.cpp itself, token by token beside transformers: `make interop-gguf`.

Run by the Python of Accord's own environment; `--llamacpp` names one with the package xllamacpp
(docs/convert.md). Exit 0: every float32 file gave the same greedy tokens. What q8_0 gives is told
and not asked for: llama.cpp also rounds what is multiplied with such weights.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from accord.checkpoint.gguf_export import Storage, write_gguf
from accord.checkpoint.gguf_import import import_gguf
from accord.checkpoint.gguf_shape import architecture_of
from accord.errors import AccordError
from accord.text.tokenizer import Tokenizer
from interop_models import EXPERTS, FAMILIES, SCALED, write_shape

PROMPTS = (4, 40, 300, 600)
"""Lengths in tokens: within and beyond every length before scaling."""
NEW = 48
STORED: tuple[Storage, ...] = ("f32", "q8_0")
LIMIT_S = 900
OUT = Path(__file__).parent / "results" / "gguf.json"
_QWEN2 = {"attention_bias": True, "attention_out_bias": False}
_LLAMA31 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 256}
_YARN = {"rope_type": "yarn", **SCALED}

SHAPES: Mapping[str, Mapping[str, Any]] = {
    **{name: shape for name, (_, shape) in FAMILIES.items()},
    "llama 3.1": {"rope_theta": 5e5, "head_dim": 64, "rope_scaling": _LLAMA31},
    "qwen2, yarn of its own length": {**_QWEN2, "rope_scaling": {**_YARN, "attention_factor": 1.3}},
    "qwen3, yarn": {"qk_norm": True, "rope_scaling": _YARN},
    "qwen3-moe, linear": {
        **EXPERTS,
        "qk_norm": True,
        "moe_intermediate_size": 64,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
}
"""Every exported family, and scalings that only llama.cpp is asked for."""


def prompts() -> list[list[int]]:
    """The same for every model."""
    rng = random.Random(0)
    return [[rng.randrange(5, 250) for _ in range(length)] for length in PROMPTS]


def written(name: str, storage: Storage, folder: Path) -> dict[str, Any]:
    """One model as GGUF, and the greedy tokens of transformers for its numbers read back.

    Raises:
        AccordError: llama.cpp has no such architecture.
    """
    decoder = write_shape(SHAPES[name], folder / "model")
    tokenizer = Tokenizer.load(folder / "model")
    path = folder / "model.gguf"
    write_gguf(decoder, tokenizer, path, storage, name)
    # float32 is compared with the folder itself, rounded weights with what they were rounded to
    source = folder / "model"
    if storage != "f32":
        source = folder / "rounded"
        import_gguf(str(path), source, folder)
    never = sorted(tokenizer.control_ids)
    return {
        "architecture": architecture_of(decoder.config),
        "path": str(path),
        "never": never,
        "want": greedy(source, never),
    }


def greedy(folder: Path, never: list[int]) -> list[list[int]]:
    """The tokens that transformers gives after each prompt."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    fixed = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    return [
        model.generate(torch.tensor([ids]), suppress_tokens=never, **fixed)[0, len(ids) :].tolist()
        for ids in prompts()
    ]


def asked(python: Path, made: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What llama.cpp answers, or its error, by name."""
    never = next(iter(made.values()))["never"]
    files = {name: one["path"] for name, one in made.items()}
    request = {"files": files, "prompts": prompts(), "new": NEW, "never": never}
    script = Path(__file__).with_name("llamacpp_answers.py")
    done = subprocess.run(
        [str(python), str(script)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    if len(lines) < len(files):
        print(done.stderr[-2000:], file=sys.stderr)
    return {line.pop("name"): line for line in lines}


def compared(names: list[str], storage: Storage, python: Path) -> list[dict[str, Any]]:
    """One row a model: how many of each prompt's tokens are the same, or why there are none."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for number, name in enumerate(names):
            rows[name] = {"name": name, "storage": storage}
            try:
                made[name] = written(name, storage, Path(folder) / str(number))
            except AccordError as error:
                rows[name]["refused"] = error.what
        answers = asked(python, made) if made else {}
    for name, one in made.items():
        row, answer = rows[name], answers.get(name, {"error": "no answer"})
        row["architecture"] = one["architecture"]
        if "error" in answer:
            row["error"] = answer["error"]
            continue
        pairs = list(zip(answer["tokens"], one["want"], strict=True))
        row["same"] = [sum(a == b for a, b in zip(*pair, strict=False)) for pair in pairs]
        row["first"] = [leading(*pair) for pair in pairs]
    return list(rows.values())


def leading(found: list[int], wanted: list[int]) -> int:
    """How many of the first tokens are the same."""
    pairs = enumerate(zip(found, wanted, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(found), len(wanted)))


def shown(row: Mapping[str, Any]) -> str:
    """A row of the table."""
    if "same" in row:
        of = f"same of {NEW}: {row['same']}, before the first other: {row['first']}"
        return f"{row['name']:<30} {row['storage']:<5} {row['architecture']:<9} {of}"
    why = "not written" if "refused" in row else f"ERROR {row['error']}"
    return f"{row['name']:<30} {row['storage']:<5} {why}"


def main() -> int:
    """Compare the models named, or all, in each storage type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llamacpp", type=Path, required=True, help="environment with xllamacpp")
    parser.add_argument("models", nargs="*", help=f"of: {', '.join(SHAPES)}")
    given = parser.parse_args()
    python = given.llamacpp / "bin" / "python"
    ready = subprocess.run([python, "-c", "import xllamacpp"], capture_output=True, check=False)
    if ready.returncode:
        parser.error(f"{given.llamacpp} has no xllamacpp: {python} -m pip install xllamacpp")
    names = given.models or list(SHAPES)
    rows = [row for storage in STORED for row in compared(names, storage, python)]
    print("\n".join(shown(row) for row in rows))
    if not given.models:
        OUT.write_text(json.dumps({"prompts": PROMPTS, "new": NEW, "rows": rows}, indent=1) + "\n")
    exact = [row for row in rows if row["storage"] == "f32" and "refused" not in row]
    return 0 if exact and all(row.get("same") == [NEW] * len(PROMPTS) for row in exact) else 1


if __name__ == "__main__":
    sys.exit(main())
