"""Logits of long texts: as near to those of float64 as transformers' are."""

import random
from pathlib import Path

import pytest
import torch

from accord.model.plan import Plan

LENGTH = 600


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
@pytest.mark.parametrize("name", ["gpt2", "yarn rope", "mixtral", "alternating experts"])
def test_float32_is_as_near_to_float64_as_transformers_is(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from interop_models import write

    decoder = write(name, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    rng = random.Random(0)
    ids_N = torch.tensor([rng.randrange(5, 250) for _ in range(LENGTH)])
    at_N, plan = torch.arange(LENGTH), Plan.dense(1, LENGTH)
    with torch.no_grad():
        found = [theirs(ids_N[None]).logits[0], decoder.logits(decoder(ids_N, at_N, plan))]
        # transformers' own float64 rounds norms and softmaxes to float32, ours nothing
        decoder.double()
        exact = decoder.logits(decoder(ids_N, at_N, plan))
    assert exact.dtype == torch.float64 and exact.std() > 0.5
    off = [float((logits.double() - exact).pow(2).mean().sqrt()) for logits in found]
    assert 0 < off[1] < 1.25 * off[0], f"transformers {off[0]:.1e}, Accord {off[1]:.1e}"
