"""What every engine is asked and answers: prompts and seeds, new weights, completions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.config.generate import SamplingConfig
from accord.errors import AccordError, did_you_mean
from accord.text.tokenizer import Tokenizer

Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    Args:
        ids: Every token drawn, the one that ended the completion included.
        logps: Natural log-probability each token was drawn at, under the distribution that
            penalties, temperature and truncation left; at temperature 0 the plain ones.
        finished: `end` by the end token, `stop` by a stop token or string, `length` by a limit.
        text: The decoded tokens without the ending token, cut before the stop string.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    finished: Finish
    text: str


def check_requests(
    prompts: Sequence[Sequence[int]], seeds: Sequence[int], batch_size: int, limit: int, known: int
) -> None:
    """Refuse prompts that cannot be answered.

    Args:
        prompts: Token ids.
        seeds: One a prompt.
        batch_size: Rows decoded at a time.
        limit: Positions that the model reads, the answer included.
        known: `len(tokenizer)`.

    Raises:
        AccordError: A prompt is empty, too long or has foreign ids; seeds don't match the
            prompts or are negative; batch_size is below 1.
    """
    if len(seeds) != len(prompts):
        raise AccordError(
            f"{len(prompts)} prompts came with {len(seeds)} seeds", fix="give a seed a prompt"
        )
    if seeds and min(seeds) < 0:
        raise AccordError(f"seed {min(seeds)} is negative", "seeds", "give integers of 0 or more")
    if batch_size < 1:
        raise AccordError(f"batch_size is {batch_size}", fix="give 1 or more")
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise AccordError("a prompt has no tokens", f"prompt {i}", "give at least one")
        if len(prompt) >= limit:
            raise AccordError(
                f"a prompt of {len(prompt)} tokens leaves no room to answer: the model reads "
                f"{limit} positions",
                f"prompt {i}",
                f"shorten it to at most {limit - 1} tokens",
            )
        if not 0 <= min(prompt) <= max(prompt) < known:
            raise AccordError(
                f"a prompt holds an id outside the tokenizer's 0 to {known - 1}",
                f"prompt {i}",
                "encode it with the model's own tokenizer",
            )


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Refuse weights that are not those of the model an engine runs.

    Raises:
        AccordError: A parameter is unknown, missing or of another shape.
    """
    for name in weights:
        if name not in shapes:
            raise AccordError(
                f"the engine's model has no parameter {name!r}", fix=did_you_mean(name, shapes)
            )
    for name, shape in shapes.items():
        given = tuple(weights[name].shape) if name in weights else None
        if given != tuple(shape):
            raise AccordError(
                f"the new weights have {name!r} of shape {given}, the engine's model "
                f"{tuple(shape)}",
                fix="hand over the weights of a model of the same shape, all of them",
            )


def shown_text(
    ids: Sequence[int], tokenizer: Tokenizer, end_ids: frozenset[int], sampling: SamplingConfig
) -> tuple[str, bool]:
    """Drawn tokens as text, without what ended them, and whether a stop string was cut off."""
    text = tokenizer.decode(ids[:-1] if ids[-1] in end_ids else ids)
    cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
    return text[: min(cuts, default=len(text))], bool(cuts)


def check_finite(logps: Sequence[float], where: str) -> None:
    """Refuse tokens that were drawn at no probability.

    Raises:
        AccordError: A log-probability is not finite.
    """
    if not all(map(math.isfinite, logps)):
        raise AccordError(
            "a token was drawn at a log-probability that is not finite",
            where,
            "the model's logits are NaN, or the settings forbid every token",
        )
