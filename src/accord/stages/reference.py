"""Reference log-probabilities: computed once, kept on disk by what they depend on."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.data.packing import Example, collate
from accord.model.decoder import Decoder
from accord.model.plan import predicting_hidden
from accord.objectives.logprobs import token_logps
from accord.objectives.preference import ld_weights, sequence_logps
from accord.train import current_ranks

TOKENS_AT_ONCE = 8192
SHARD = 2048
"""Examples whose values are kept in one file: what a run that is cut short loses at most."""


@dataclass(frozen=True)
class Reference:
    """A frozen model that scores responses.

    Args:
        model: In the precision that the policy computes in, so that the two agree to rounding
            before the first step and the loss starts at log 2.
        fingerprint: Hash of its weights and shape.
        ld_alpha: Weight of the tokens past the shorter response of a pair; none: they count whole.
    """

    model: Decoder
    fingerprint: str
    ld_alpha: float | None = None

    def on_disk(
        self, examples: Sequence[Example], folder: Path, console: Console | None = None
    ) -> list[Example]:
        """The examples with each response's summed log-probability.

        Each token's is kept in `folder`, a file for every `SHARD` examples, named by a hash of the
        model, its precision and all tokens: another model or other data never finds a stale value,
        and a run that was cut short goes on with the files it left. Ranks share the files' work.

        Args:
            examples: Prompts and responses.
            folder: Where values are kept.
            console: Where progress is printed, if there is more than one file to make.
        """
        shards = [examples[at : at + SHARD] for at in range(0, len(examples), SHARD)]
        paths = [folder / f"{self._key(shard)}.safetensors" for shard in shards]
        ranks = current_ranks()
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        for done, number in enumerate(missing[ranks.rank :: ranks.world]):
            if console is not None and len(missing) > 1 and ranks.rank == 0:
                console.print(f"  reference: {done * ranks.world} of {len(missing)} parts")
            _write(paths[number], scored(shards[number], self.model))
        ranks.gather(None)  # every file is there before any is read
        found: list[Example] = []
        for shard, path in zip(shards, paths, strict=True):
            found += self._with_sums(shard, load_file(path)["logps"])
        return found

    def in_memory(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with each response's summed log-probability, kept nowhere."""
        return self._with_sums(examples, scored(examples, self.model)) if examples else []

    def _with_sums(self, examples: Sequence[Example], logps_S: Tensor) -> list[Example]:
        """Tokens' log-probabilities summed as the policy's are."""
        counts = [sum(r.mask) for example in examples for r in example.responses]
        sequence_S = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        weight_S = None
        if self.ld_alpha is not None:
            lengths_R = torch.tensor(counts, dtype=logps_S.dtype)
            weight_S = ld_weights(sequence_S, lengths_R, self.ld_alpha)
        sums_R, _ = sequence_logps(logps_S, sequence_S, len(counts), weight_S)
        values = iter(sums_R.tolist())
        return [replace(e, reference=tuple(next(values) for _ in e.responses)) for e in examples]

    def _key(self, examples: Sequence[Example]) -> str:
        head_VD = self.model.head_weight_VD  # grown, where the stage adds tokens
        found = hashlib.sha256(f"{self.fingerprint} {head_VD.dtype} {len(head_VD)}".encode())
        for example in examples:
            parts = [example.prompt]
            parts += [p for r in example.responses for p in (r.ids, tuple(map(int, r.mask)))]
            for part in parts:
                found.update(len(part).to_bytes(8, "little"))
                found.update(np.asarray(part, dtype=np.int64).tobytes())
        return found.hexdigest()[:32]


@torch.no_grad()
def scored(examples: Sequence[Example], model: Decoder) -> Tensor:
    """log π_ref of every scored token, float32 on the CPU, in the order of examples and tokens."""
    found: list[Tensor | None] = [None] * len(examples)
    for chosen in _alike(examples):
        batch = collate([examples[i] for i in chosen]).to(model.head_weight_VD.device)
        hidden_SD = predicting_hidden(model, batch)
        logps_S, _ = token_logps(hidden_SD, model.head_weight_VD, batch.target_S)
        counts = [sum(sum(r.mask) for r in examples[i].responses) for i in chosen]
        for i, part in zip(chosen, logps_S.float().cpu().split(counts), strict=True):
            found[i] = part
    return torch.cat([part for part in found if part is not None])


def _alike(examples: Sequence[Example]) -> Iterator[list[int]]:
    """Places of examples of like length, so that attention pads little."""
    chosen: list[int] = []
    held = 0
    for place in sorted(range(len(examples)), key=lambda i: examples[i].length):
        if chosen and held + examples[place].tokens > TOKENS_AT_ONCE:
            yield chosen
            chosen, held = [], 0
        chosen.append(place)
        held += examples[place].tokens
    if chosen:
        yield chosen


def _write(path: Path, logps_S: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file({"logps": logps_S.contiguous()}, part)
    part.replace(path)
