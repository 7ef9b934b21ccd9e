"""Text from a model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.checkpoint.adapter_folder import tokenizer_folder
from accord.checkpoint.folder import load_model
from accord.config.generate import SamplingConfig
from accord.model.decoder import Decoder
from accord.pipeline.execute import local_folder
from accord.pipeline.single import sampling_settings
from accord.rollout.engine import Engine
from accord.rollout.requests import Completion
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids, stop_ids


def load(model: str | Path) -> tuple[Decoder, Tokenizer]:
    """A decoder and its tokenizer from a model folder or `hub:owner/name`.

    Raises:
        AccordError: No such folder, or not one that Accord can read.
    """
    folder = local_folder(str(model))
    return load_model(folder), Tokenizer.load(tokenizer_folder(folder))


def complete(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    seed: int = 1,
    chat: bool = False,
) -> list[Completion]:
    """What a model writes after each prompt; prompt number i is drawn from seed + i.

    Args:
        model: The decoder.
        tokenizer: Its tokenizer.
        prompts: Plain text to go on from, or a user's turns where `chat` is set.
        sampling: How tokens are drawn.
        seed: The same seed gives the same text.
        chat: Answer as the assistant of the tokenizer's chat template.
    """
    role = "user" if chat else "text"
    ids = [prompt_ids([Message(role, prompt)], tokenizer) for prompt in prompts]
    ends = tuple(stop_ids(tokenizer)) if chat else ()
    engine = Engine(model, tokenizer, ends)
    return engine.generate(ids, sampling, [seed + i for i in range(len(prompts))])


def generate(
    model: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    seed: int = 1,
    chat: bool = False,
    **sampling: Any,
) -> str:
    """The text a model writes after a prompt.

    Args:
        model: The decoder.
        tokenizer: Its tokenizer.
        prompt: Plain text to go on from, or a user's turn where `chat` is set.
        seed: The same seed gives the same text.
        chat: Answer as the assistant of the tokenizer's chat template.
        **sampling: Settings of `SamplingConfig`, such as temperature=0.7.
    """
    settings = sampling_settings(**sampling)
    return complete(model, tokenizer, [prompt], settings, seed, chat)[0].text
