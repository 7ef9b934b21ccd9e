"""Every family of models against transformers: the largest difference of any logit, in float32."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parents[2] / "tests" / "checkpoint"
"""Where a tiny random transformers model of every family is defined, once."""
LONG, PROMPT = 80, 4
"""Tokens read, beyond every window and the length before scaling; the first row's prompt."""


def variants() -> dict[str, Any]:
    """Name to what makes a transformers model of it, dense families and mixtures."""
    # last, so that none of its files takes the name of an installed package
    if str(MODELS) not in sys.path:
        sys.path.append(str(MODELS))
    import family_models
    import moe_models

    dense = {name: (family_models.theirs, name) for name in family_models.CASES}
    return dense | {name: (moe_models.mixture, name) for name in moe_models.MIXTURES}


def differences(name: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Largest absolute difference of a logit by what was compared.

    `read`: our decoder on a folder of theirs. `cache`: the same, prompts prefilled at once and the
    rest token by token. `saved`: their model, and ours, on the folder that we save.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from accord.checkpoint.folder import load_model, save_model

    make, variant = variants()[name]
    model = make(variant)
    ids_BT = torch.randint(37, (3, LONG), generator=torch.Generator().manual_seed(0))
    model.save_pretrained(folder / "theirs")
    decoder = load_model(folder / "theirs")
    with torch.no_grad():
        want_BTV = model(ids_BT).logits
    yield "read", apart(uncached(decoder, ids_BT), want_BTV)
    found_BTV = cached(decoder, ids_BT)
    yield "cache", apart(found_BTV, want_BTV[:, : found_BTV.shape[1]])
    save_model(decoder, folder / "ours")
    again = AutoModelForCausalLM.from_pretrained(folder / "ours").eval()
    with torch.no_grad():
        yield "saved, theirs", apart(again(ids_BT).logits, want_BTV)
    yield "saved, ours", apart(uncached(load_model(folder / "ours"), ids_BT), want_BTV)


def apart(a: Any, b: Any) -> float:
    """Largest absolute difference; not a number where one of them is none."""
    return float((a.double() - b.double()).abs().max())


def uncached(decoder: Any, ids_BT: Any) -> Any:
    """Logits [B, T, V] of whole rows."""
    import torch

    from accord.model import Plan

    rows, time = ids_BT.shape
    position_N = torch.arange(time).repeat(rows)
    with torch.no_grad():
        hidden_ND = decoder(ids_BT.flatten(), position_N, Plan.dense(rows, time))
        return decoder.logits(hidden_ND).view(rows, time, -1)


def cached(decoder: Any, ids_BT: Any) -> Any:
    """Logits [B, T - B + 1, V] with the cache: prompts of unlike lengths, then token by token."""
    import torch

    from accord.model import KVCache

    rows, time = ids_BT.shape
    slots, lengths = list(range(rows)), [PROMPT + row for row in range(rows)]
    cache = KVCache(decoder.config, rows, time, torch.float32, "cpu")
    with torch.no_grad():
        attend = cache.prefill(slots, lengths)
        prompt_N = torch.cat([row[:n] for row, n in zip(ids_BT, lengths, strict=True)])
        logits_NV = decoder.logits(decoder(prompt_N, attend.position_N, attend))
        found = [[part] for part in logits_NV.split(lengths)]
        for step in range(time - max(lengths)):
            attend = cache.step(slots)
            token_B = torch.stack([ids_BT[row, n + step] for row, n in enumerate(lengths)])
            logits_BV = decoder.logits(decoder(token_B, attend.position_N, attend))
            for row in slots:
                found[row].append(logits_BV[row, None])
    return torch.stack([torch.cat(row)[: time - rows + 1] for row in found])


def largest(folder: Path, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Name of each variant to its differences."""
    return {
        name: dict(differences(name, folder / str(number))) for number, name in enumerate(names)
    }
