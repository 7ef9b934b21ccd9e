"""Packed and shared batches against each sequence computed alone, on full logits."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.checkpoint.folder import load_model
from accord.config.stages import PreferenceStage
from accord.data.packing import Blocks, Example, Response, collate
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.stages.steps import language_step, preference_step


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Decoder:
    return load_model(model_folder, torch.float64)


def logps(model: Decoder, ids: list[int]) -> Tensor:
    """[T-1] log-probability of each token of a sequence after its first, from full logits."""
    count = len(ids) - 1
    position = torch.arange(count)
    hidden = model(torch.tensor(ids[:-1]), position, Plan.dense(1, count))
    table = F.log_softmax(model.logits(hidden), dim=-1)
    return table[torch.arange(count), torch.tensor(ids[1:])]


def draw(generator: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(generator.integers(0, 250, generator.integers(low, high)).tolist())


def test_blocks_that_cut_no_document_lose_what_each_document_loses(model: Decoder) -> None:
    generator = np.random.default_rng(1)
    documents = [list(draw(generator, 3, 9)) for _ in range(5)]
    length = sum(len(document) + 1 for document in documents)
    blocks = Blocks.of(documents, 299, 299, length)
    found = language_step(model, blocks.collate([0]))
    expected = sum(-logps(model, [299, *document, 299]).sum() for document in documents)
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-9)
    assert float(found.weight) == length


def test_blocks_that_cut_documents_lose_what_each_piece_loses(model: Decoder) -> None:
    generator = np.random.default_rng(2)
    blocks = Blocks.of([list(draw(generator, 3, 20)) for _ in range(9)], 299, 299, 16)
    rows = list(range(len(blocks)))
    found = language_step(model, blocks.collate(rows))
    expected = torch.zeros((), dtype=torch.float64)
    for row in rows:
        tokens = blocks.tokens[row * 16 : (row + 1) * 16 + 1].tolist()
        starts = [0, *(at for at in range(1, 16) if blocks.opens[row * 16 + at]), 16]
        for start, end in pairwise(starts):
            expected -= logps(model, tokens[start : end + 1]).sum()
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-9)
    assert float(found.weight) == 16 * len(rows)


def pair(generator: np.random.Generator, number: int) -> Example:
    responses = []
    for _ in range(2):
        ids = draw(generator, 2, 10)
        mask = (False,) * (number % 2) + (True,) * (len(ids) - number % 2)
        responses.append(Response(ids, mask))
    reference = tuple((-20 * generator.random(2)).tolist())
    return Example(draw(generator, 1, 12), tuple(responses), f"row {number}", reference)


def likely(model: Decoder, example: Example) -> Example:
    """The same prompt with responses of which the policy is surer than of what it draws."""
    responses = []
    for first in (1, 2):
        ids = [*example.prompt, first]
        for _ in range(6):
            hidden = model(torch.tensor(ids), torch.arange(len(ids)), Plan.dense(1, len(ids)))
            ids.append(int(model.logits(hidden[-1:]).argmax()))
        answer = tuple(ids[len(example.prompt) :])
        responses.append(Response(answer, (False,) + (True,) * (len(answer) - 1)))
    return replace(example, responses=tuple(responses))


def separate(model: Decoder, example: Example) -> tuple[list[Tensor], list[int]]:
    """Log-probability and scored tokens of each response, after a copy of the prompt."""
    sums, counts = [], []
    for response in example.responses:
        found = logps(model, [*example.prompt, *response.ids])[len(example.prompt) - 1 :]
        mask = torch.tensor(response.mask)
        sums.append(found[mask].sum())
        counts.append(int(mask.sum()))
    return sums, counts


def weight(model: Decoder, example: Example, weighting: str) -> float:
    """WPO's weight of a pair, from full tables: exp of mean log-probabilities, `wpo_aligned` less
    log sum p^2 at each token; only `wpo` is at most 1."""
    product = 1.0
    for response in example.responses:
        ids, begin = [*example.prompt, *response.ids], len(example.prompt) - 1
        count, mask = len(ids) - 1, torch.tensor(response.mask)
        hidden = model(torch.tensor(ids[:-1]), torch.arange(count), Plan.dense(1, count))
        table = F.softmax(model.logits(hidden), dim=-1)[begin:][mask]
        drawn = table.gather(1, torch.tensor(response.ids)[mask, None])[:, 0].log()
        if weighting == "wpo_aligned":
            drawn = drawn - table.square().sum(1).log()
        product *= float(drawn.detach().mean().exp())
    return min(product, 1.0) if weighting == "wpo" else product


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weighting": "wpo"},
        {"weighting": "wpo_aligned"},
        {"beta": 0.7, "label_smoothing": 0.2, "loss": {"sigmoid": 1, "sft": 0.3}},
        {"loss": "sigmoid_norm", "beta": 5.0, "margin_cap": 2.0},
    ],
)
def test_pairs_that_share_a_prompt_lose_what_separate_copies_lose(
    model: Decoder, settings: dict[str, object]
) -> None:
    generator = np.random.default_rng(3)
    examples = [pair(generator, number) for number in range(7)]
    examples.append(likely(model, examples[0]))
    assert weight(model, examples[-1], "wpo_aligned") > 1
    config = PreferenceStage.model_validate(
        {"from": "x", "steps": 1, "data": [{"source": "x"}]} | settings
    )
    model.zero_grad()
    found = preference_step(config)(model, collate(examples))
    found.total.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    model.zero_grad()
    expected = torch.zeros((), dtype=torch.float64)
    for example in examples:
        (chosen, rejected), (long, short) = separate(model, example)
        assert example.reference is not None
        # a batch carries its reference in float32
        first, second = (float(np.float32(value)) for value in example.reference)
        up, down = chosen - first, rejected - second
        if config.loss == "sigmoid_norm":
            up, down = up / long, down / short
        x = config.beta * (up - down)
        if config.margin_cap is not None:
            x = x.clamp(max=config.margin_cap)
        smooth = config.label_smoothing
        lost = -(1 - smooth) * F.logsigmoid(x) - smooth * F.logsigmoid(-x)
        if config.weighting != "none":
            lost = lost * weight(model, example, config.weighting)
        expected = expected + lost
        expected = expected - config.losses.get("sft", 0) * chosen / long
    expected.backward()
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-8)
    assert float(found.weight) == len(examples)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        difference = (gradients[name] - parameter.grad).norm()
        assert difference <= 1e-7 * parameter.grad.norm(), name


def test_a_row_without_its_reference_is_refused_by_a_loss_that_needs_it(model: Decoder) -> None:
    generator = np.random.default_rng(5)
    examples = [pair(generator, 0), replace(pair(generator, 1), reference=None)]
    given = {"from": "x", "steps": 1, "data": [{"source": "x"}]}
    for loss in ("sigmoid", {"simpo": 1, "sigmoid": 1}):
        step = preference_step(PreferenceStage.model_validate(given | {"loss": loss}))
        with pytest.raises(ValueError, match="no reference log-probability"):
            step(model, collate(examples))
    free = preference_step(PreferenceStage.model_validate(given | {"loss": "simpo"}))
    assert torch.isfinite(free(model, collate(examples)).total)
