"""The protocol every policy goes through: the same prompts, seeds and sampling settings.

Sample k of a prompt has the same seed for every policy, so differences are paired.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from accord.config.generate import SamplingConfig
from accord.config.stages import PromptsConfig
from accord.data.rows import ChatRow, LabelRow, PairRow, Row, TextRow, digest
from accord.errors import AccordError
from accord.evaluation.likelihood import Policy
from accord.evaluation.samples import Prompt, Sample
from accord.rollout.engine import Engine
from accord.text.chat import prompt_ids, stop_ids
from accord.text.messages import Message, Messages

R = TypeVar("R", bound=Row)


def fixed_prompts(
    config: PromptsConfig, heldout: Sequence[Row], policy: Policy, template: str | None = None
) -> list[Prompt]:
    """The evaluation's prompts: those written out, then those from held-out rows.

    Rows are taken in the order of their content hash, so that neither their place in the file nor
    a seed decides which are used; a prompt that occurs twice is used once.

    Args:
        config: Where prompts come from and how many are taken.
        heldout: Rows that no stage was trained on.
        policy: Whose tokenizer reads them.
        template: Chat template that renders a turn; none: the tokenizer's own.

    Raises:
        AccordError: If no prompt is left, or texts are to be prompts without `first_words`.
    """
    written = [_written(text, policy, template) for text in config.texts]
    drawn = row_prompts(heldout, config.first_words, policy, template, config.count)
    prompts = [*written, *(prompt for _, prompt in drawn)]
    if not prompts:
        raise AccordError(
            "No evaluation prompt is left: no held-out row is long enough to give one.",
            "prompts",
            "lower first_words, raise heldout.fraction, or write texts",
        )
    return prompts


def row_prompts(
    rows: Sequence[R],
    first_words: int | None,
    policy: Policy,
    template: str | None = None,
    count: int | None = None,
) -> list[tuple[R, Prompt]]:
    """Prompts of rows, each with the row it is of, in the order of the rows' content hash.

    A prompt that occurs twice is that of the first row; rows too short to give one give none.

    Args:
        rows: Where prompts come from.
        first_words: How many words of a text are its prompt; none: rows have prompts of their own.
        policy: Whose tokenizer reads them.
        template: Chat template that renders a turn; none: the tokenizer's own.
        count: Prompts at most; none: all.

    Raises:
        AccordError: Texts are to be prompts without `first_words`.
    """
    found: dict[str, tuple[R, Prompt]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if len(found) == count:
            break
        prompt = _from_row(row, first_words, policy, template)
        if prompt is not None:
            prompt = replace(prompt, extra=row.extra, where=row.where)
            found.setdefault(prompt.id, (row, prompt))
    return list(found.values())


def opening(text: str, count: int) -> str | None:
    """The first `count` words as they stand, or none if no word follows them."""
    found = re.match(rf"\s*(\S+(?:\s+\S+){{{count - 1}}})\s+\S", text)
    return found.group(1) if found else None


def seeds(prompts: Sequence[Prompt], samples_per_prompt: int, seed: int) -> list[int]:
    """A seed for each (prompt, sample), prompt by prompt.

    It depends on the prompt's content, not on its place, so adding a prompt changes no other's
    samples.
    """
    return [
        int.from_bytes(hashlib.sha256(f"{seed}/{prompt.id}/{k}".encode()).digest()[:6], "big")
        for prompt in prompts
        for k in range(samples_per_prompt)
    ]


def sample_policy(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    samples_per_prompt: int,
    seed: int,
) -> list[Sample]:
    """Samples of a policy, prompt by prompt, `samples_per_prompt` each."""
    engine = Engine(policy.model, policy.tokenizer, sorted(stop_ids(policy.tokenizer)))
    asked = [prompt.ids for prompt in prompts for _ in range(samples_per_prompt)]
    return [
        Sample(
            text=drawn.text,
            ids=drawn.ids,
            ended=drawn.finished != "length",
            length=len(drawn.ids) - (drawn.finished != "length"),
        )
        for drawn in engine.generate(asked, sampling, seeds(prompts, samples_per_prompt, seed))
    ]


def untouched(sampling: SamplingConfig) -> SamplingConfig:
    """Sampling from the policy itself: temperature 1, nothing cut off, of the same length.

    KL is a property of the policy, so it is measured on these and not on the displayed samples.
    """
    return SamplingConfig(max_new_tokens=sampling.max_new_tokens)


def _from_row(
    row: Row, first_words: int | None, policy: Policy, template: str | None
) -> Prompt | None:
    if first_words is not None:
        return _continued(row, first_words, policy, template)
    if isinstance(row, ChatRow | PairRow | LabelRow):
        return _answered(row.prompt, policy, template)
    raise AccordError(
        "Plain text has no prompt of its own.",
        row.where,
        "set prompts.first_words, so that the first words of each text are the prompt",
    )


def _written(text: str, policy: Policy, template: str | None) -> Prompt:
    """A written prompt: a turn of chat where the model has a template, else text to go on with."""
    if template or policy.tokenizer.chat_template:
        return _answered((Message("user", text),), policy, template)
    return _opened((), text, policy, template)


def _answered(messages: Messages, policy: Policy, template: str | None) -> Prompt:
    """A prompt that a response answers."""
    ids = tuple(prompt_ids(messages, policy.tokenizer, template))
    text = "\n".join(message.content for message in messages)
    return Prompt(digest([text, False]), text, ids, continues=False, messages=messages)


def _continued(row: Row, count: int, policy: Policy, template: str | None) -> Prompt | None:
    """A prompt that is the opening of a held-out text (of a response, where there are turns)."""
    before: Messages = ()
    if isinstance(row, TextRow):
        text = row.text
    elif isinstance(row, ChatRow | LabelRow):
        before, text = row.prompt, row.completion[-1].content
    elif isinstance(row, PairRow):
        before, text = row.prompt, row.chosen[-1].content
    else:
        return None
    first = opening(text, count)
    if first is None:
        return None
    return _opened(before, first, policy, template)


def _opened(before: Messages, text: str, policy: Policy, template: str | None) -> Prompt:
    """A prompt whose response has already begun with `text`."""
    tokenizer = policy.tokenizer
    if before:
        ids = prompt_ids(before, tokenizer, template) + tokenizer.encode(text)
    else:
        ids = prompt_ids((Message("text", text),), tokenizer)
    return Prompt(digest([text, True]), text, tuple(ids), continues=True, messages=before)
