"""Bits per byte against a computation token by token."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from accord.checkpoint.folder import load_model
from accord.data.rows import TextRow
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.stages.heldout import bits_per_byte, windows
from accord.text.tokenizer import Tokenizer

TEXTS = {"a": ["A warm film.", "Zoë läuft 東京 🦊"], "b": ["The fox hid the key by the river."]}


@torch.no_grad()
def brute_bits(model: Decoder, tokens: list[int], length: int) -> float:
    """Each token but the first, from a fresh context every `length` tokens."""
    bits = 0.0
    for at in range(1, len(tokens)):
        context = tokens[(at - 1) // length * length : at]
        hidden = model(
            torch.tensor(context), torch.arange(len(context)), Plan.dense(1, len(context))
        )
        logits = model.logits(hidden)[-1]
        bits -= float(F.log_softmax(logits, dim=-1)[tokens[at]]) / math.log(2)
    return bits


@pytest.mark.parametrize("length", [5, 100])
def test_bits_per_byte(model_folder: Path, tokenizer: Tokenizer, length: int) -> None:
    model = load_model(model_folder, torch.float64)
    rows = [TextRow(text=text, source=source) for source in TEXTS for text in TEXTS[source]]
    start, end = tokenizer.start_id, tokenizer.end_id
    cut = [windows(tokenizer.encode(r.text), start, end, length, r.id) for r in rows]
    sizes = [len(row.text.encode()) for row in rows]
    found = bits_per_byte(model, rows, cut, sizes)
    bits = {
        row.id: brute_bits(model, [start, *tokenizer.encode(row.text), end], length) for row in rows
    }
    for source, texts in TEXTS.items():
        own = [row for row in rows if row.source == source]
        size = sum(len(text.encode()) for text in texts)
        tokens = sum(len(tokenizer.encode(text)) + 1 for text in texts)
        assert {k: found[source][k] for k in ("rows", "tokens", "bytes")} == {
            "rows": len(texts),
            "tokens": tokens,
            "bytes": size,
        }
        assert found[source]["bits_per_byte"] == pytest.approx(
            sum(bits[row.id] for row in own) / size, rel=1e-6
        )
    assert found["overall"]["bits_per_byte"] == pytest.approx(
        sum(bits.values()) / sum(sizes), rel=1e-6
    )


def test_nothing_held_out_gives_no_figure(model_folder: Path) -> None:
    assert bits_per_byte(load_model(model_folder), [], [], []) == {}
