"""What a conversion costs: the same texts under a model before and after it.

Axes: T tokens of one text, S of them scored, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from accord.config.data import HeldoutConfig, SourceConfig
from accord.config.generate import SamplingConfig
from accord.data.account import Account
from accord.data.examples import chat_example
from accord.data.load import load_rows
from accord.data.packing import Example, Response
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.pipeline.files import read_json
from accord.rollout.engine import Engine
from accord.stages.records import cache_folder
from accord.text.tokenizer import Tokenizer

Logits = Callable[[Tensor], Tensor]
"""Ids [T] of one text to logits [T, V]."""
MOST_ROWS, MOST_TOKENS = 64, 512
OWN, OWN_TOKENS = 16, 64
SEED = 1


@dataclass(frozen=True)
class Texts:
    """What models are compared on, and where it comes from."""

    said: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class Quality:
    """Two models on the same texts, teacher-forced.

    Args:
        tokens: Tokens scored.
        perplexity_before: exp of the mean negative log-probability of a token.
        perplexity: The same after the conversion.
        max_logit_difference: Largest absolute difference of any logit.
        greedy_agreement: Share of the tokens at which both would choose the same next one.
    """

    tokens: int
    perplexity_before: float
    perplexity: float
    max_logit_difference: float
    greedy_agreement: float

    def to_json(self) -> dict[str, Any]:
        """All figures, the change of perplexity among them."""
        return asdict(self) | {"perplexity_change": self.perplexity - self.perplexity_before}


def decoder_logits(decoder: Decoder) -> Logits:
    """One of Accord's decoders as a function of one text."""

    def logits(ids_T: Tensor) -> Tensor:
        time = len(ids_T)
        hidden_TD = decoder(ids_T, torch.arange(time), Plan.dense(1, time))
        return decoder.logits(hidden_TD).float()

    return logits


@torch.no_grad()
def compared(before: Logits, after: Logits, examples: Sequence[Example]) -> Quality:
    """Both models on the scored tokens of each example, at most 512 tokens of one.

    Raises:
        ValueError: No token is scored.
    """
    tokens, same, furthest = 0, 0, 0.0
    nats = [0.0, 0.0]
    for example in examples:
        ids_T, scored_T = _tokens(example)
        if not bool(scored_T[1:].any()):
            continue
        both = [model(ids_T)[:-1][scored_T[1:]] for model in (before, after)]  # [S, V]
        target_S = ids_T[1:][scored_T[1:]]
        for i, logits_SV in enumerate(both):
            nats[i] += float(cross_entropy(logits_SV, target_S, reduction="sum"))
        tokens += len(target_S)
        same += int((both[0].argmax(-1) == both[1].argmax(-1)).sum())
        furthest = max(furthest, float((both[0] - both[1]).abs().max()))
    if not tokens:
        raise ValueError("no token is scored")
    first, second = (math.exp(total / tokens) for total in nats)
    return Quality(tokens, first, second, furthest, same / tokens)


def _tokens(example: Example) -> tuple[Tensor, Tensor]:
    """Ids [T] of the prompt with its response, and which of them carry loss."""
    response = example.responses[0]
    ids = [*example.prompt, *response.ids][:MOST_TOKENS]
    scored = [*(False for _ in example.prompt), *response.mask][:MOST_TOKENS]
    return torch.tensor(ids), torch.tensor(scored)


def texts_for(folder: Path, data: Sequence[str], model: Decoder, tokenizer: Tokenizer) -> Texts:
    """Texts that say what a conversion costs: given ones, held-out rows, or the model's own.

    Args:
        folder: Of the model; its training record says what was held out.
        data: Sources, if any are given.
        model: Writes its own texts where there are no others.
        tokenizer: Its tokenizer.

    Raises:
        AccordError: A source cannot be read.
    """
    if data:
        sources = [SourceConfig(source=name) for name in data]
        nothing_out = HeldoutConfig(fraction=0)
        loaded = load_rows(sources, nothing_out, "chat", SEED, Account(), cache_folder())
        return Texts(", ".join(data), _examples(loaded.train, tokenizer))
    record = read_json(folder / "accord" / "stage.json")
    config = record.get("config", {})
    if config.get("data") and config.get("heldout", {}).get("fraction"):
        sources = [SourceConfig.model_validate(source) for source in config["data"]]
        heldout = HeldoutConfig.model_validate(config["heldout"])
        seed = record.get("seed", SEED)
        loaded = load_rows(sources, heldout, "chat", seed, Account(), cache_folder())
        if loaded.heldout:
            return Texts("rows held out of its training", _examples(loaded.heldout, tokenizer))
    return Texts("texts that the model itself wrote", _own(model, tokenizer))


def _examples(rows: Sequence[Any], tokenizer: Tokenizer) -> list[Example]:
    # which rows, their content decides
    chosen = sorted(rows, key=lambda row: row.id)[:MOST_ROWS]
    return [chat_example(row, tokenizer, None, "last") for row in chosen]


def _own(model: Decoder, tokenizer: Tokenizer) -> list[Example]:
    start = (tokenizer.start_id,)
    sampling = SamplingConfig(
        max_new_tokens=min(OWN_TOKENS, model.config.max_position_embeddings - 1)
    )
    written = Engine(model, tokenizer).generate(
        [start] * OWN, sampling, [SEED + i for i in range(OWN)]
    )
    return [
        Example(start, (Response(tuple(w.ids), (True,) * len(w.ids)),), str(i))
        for i, w in enumerate(written)
    ]
