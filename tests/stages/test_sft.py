"""The loss of a fine-tuning step against the loss over all positions under masked labels."""

import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from accord.checkpoint.folder import load_model
from accord.data.examples import chat_example
from accord.data.packing import collate
from accord.data.rows import ChatRow
from accord.model.plan import Plan
from accord.stages.steps import language_step
from accord.text.chat import render
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

PROMPT = (Message("user", "Where is the fox?"),)
ANSWER = (Message("assistant", "By the river."),)
TWO_TURNS = (*PROMPT, *ANSWER, Message("user", "And the crow?"))


def test_labels_on_the_prompt_change_nothing(model_folder: Path, tokenizer: Tokenizer) -> None:
    """The loss over all positions under labels whose prompt part is arbitrary, masked as -100."""
    model = load_model(model_folder, torch.float64)
    row = ChatRow(prompt=TWO_TURNS, completion=ANSWER)
    rendered = render((*TWO_TURNS, *ANSWER), tokenizer)
    found = language_step(model, collate([chat_example(row, tokenizer, None, "last")]))
    ids = torch.tensor(rendered.ids)
    hidden = model(ids[:-1], torch.arange(len(ids) - 1), Plan.dense(1, len(ids) - 1))
    logits = model.logits(hidden)
    draw = random.Random(1)
    for _ in range(3):
        noise = [draw.randrange(250) for _ in rendered.ids]
        labels = torch.tensor(
            [i if m else n for i, m, n in zip(rendered.ids, rendered.mask, noise, strict=True)]
        )
        labels[~torch.tensor(rendered.mask)] = -100
        expected = F.cross_entropy(logits, labels[1:], reduction="sum", ignore_index=-100)
        assert found.total.item() == pytest.approx(expected.item(), rel=1e-9)
    assert float(found.weight) == sum(rendered.mask)
