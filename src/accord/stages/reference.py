"""Reference log-probabilities: computed once, kept on disk by what they depend on."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from accord.data.packing import Example, collate
from accord.model.decoder import Decoder
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_logps
from accord.objectives.preference import sequence_logps

ROWS_AT_ONCE = 32


def with_reference(
    examples: Sequence[Example], model: Decoder, model_fingerprint: str, folder: Path
) -> list[Example]:
    """The examples with each response's log-probability under the frozen starting model.

    Kept in `folder` under a hash of the model, its precision and all tokens: another model or other
    data never finds a stale value.

    Args:
        examples: Prompts and responses.
        model: The reference, in the precision that the policy computes in, so that the two agree
            to rounding before the first step and the loss starts at log 2.
        model_fingerprint: Hash of the reference's weights and shape.
        folder: Where values are kept.
    """
    if not examples:
        return []
    path = folder / f"{_key(examples, model, model_fingerprint)}.safetensors"
    if path.exists():
        sums = load_file(path)["logps"]
    else:
        sums = summed_logps(examples, model)
        folder.mkdir(parents=True, exist_ok=True)
        # ranks that compute the same values at the same time each write a file of their own
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file({"logps": sums}, part)
        part.replace(path)
    values = iter(sums.tolist())
    return [
        replace(example, reference=tuple(next(values) for _ in example.responses))
        for example in examples
    ]


@torch.no_grad()
def summed_logps(examples: Sequence[Example], model: Decoder) -> torch.Tensor:
    """Σ log π_ref of every response, in the order of the examples, float32."""
    # alike lengths together, so that attention pads little
    order = sorted(range(len(examples)), key=lambda i: examples[i].length)
    found: list[torch.Tensor | None] = [None] * len(examples)
    for at in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[at : at + ROWS_AT_ONCE]
        batch = collate([examples[i] for i in chosen]).to(model.head_weight_VD.device)
        hidden_SD = predicting_hidden(model, batch)
        logps_S, _ = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        sums_R, _ = sequence_logps(logps_S, batch.sequence_S, batch.sequences)
        parts = sums_R.float().cpu().split([len(examples[i].responses) for i in chosen])
        for i, part in zip(chosen, parts, strict=True):
            found[i] = part
    return torch.cat([part for part in found if part is not None])


def _key(examples: Sequence[Example], model: Decoder, model_fingerprint: str) -> str:
    found = hashlib.sha256(f"{model_fingerprint} {model.head_weight_VD.dtype}".encode())
    for example in examples:
        parts = [example.prompt]
        parts += [part for r in example.responses for part in (r.ids, tuple(map(int, r.mask)))]
        for part in parts:
            found.update(len(part).to_bytes(8, "little"))
            found.update(np.asarray(part, dtype=np.int64).tobytes())
    return found.hexdigest()[:32]
