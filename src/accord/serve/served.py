"""A model that is served: requests in OpenAI's words to completions in Accord's."""

import secrets
import time
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.config.generate import SamplingConfig
from accord.errors import AccordError, did_you_mean
from accord.model.decoder import Decoder
from accord.pipeline.generate import load
from accord.rollout.continuous import Continuous, Drawing
from accord.rollout.engine import Engine
from accord.serve.errors import ApiError
from accord.serve.pieces import Pieces
from accord.serve.schema import MOST_CHOICES, ChatMessage, ChatRequest, CompletionRequest, Sampled
from accord.serve.worker import Answer, Job, Worker
from accord.text.chat import prompt_ids, stop_ids
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

_SHORT = 16  # tokens of a plain completion whose request names no limit: OpenAI's default
_COLDEST, _NARROWEST = 1e-4, 1e-6  # float32 holds what is divided by them, and tells them from 0


@dataclass(frozen=True)
class Capacity:
    """How much a model takes on.

    Args:
        slots: Completions decoded at a time.
        queue: Completions that may wait for a place.
        length: Tokens of prompt and completion at most; the model's own limit if that is less.
    """

    slots: int = 64
    queue: int = 64
    length: int = 2048


class Served:
    """A model with its decoding thread.

    Args:
        name: What requests call it.
        engine: The model, its tokenizer, the tokens that end a turn.
        capacity: How much it takes on.
    """

    def __init__(self, name: str, engine: Engine, capacity: Capacity) -> None:
        self.name, self.engine, self.created = name, engine, int(time.time())
        self.tokenizer = engine.tokenizer
        self.length = min(capacity.length, engine.model.config.max_position_embeddings)
        self.worker = Worker(
            lambda: Continuous(engine, capacity.slots, self.length), capacity.queue
        )

    def jobs(
        self, request: Sampled, prompts: Sequence[tuple[int, ...]], loop: AbstractEventLoop
    ) -> list[Job]:
        """The completions that a request asks for, `n` of each prompt one after the other.

        Raises:
            ApiError: A prompt is too long, or too many completions are asked for.
        """
        count = request.n or 1
        if count * len(prompts) > MOST_CHOICES:
            raise ApiError(
                400,
                f"{len(prompts)} prompts with n={count} are more than {MOST_CHOICES} completions",
                "n",
            )
        budgets = [self._budget(request, len(prompt)) for prompt in prompts for _ in range(count)]
        answer = Answer(loop, len(budgets))
        seed = secrets.randbits(63) if request.seed is None else request.seed % 2**64
        sampling = _sampling(request)
        repeated = [prompt for prompt in prompts for _ in range(count)]
        return [
            Job(
                Drawing(
                    prompt,
                    sampling,
                    seed + number,
                    budget,
                    _alternatives(request),
                    request.presence_penalty or 0.0,
                    request.frequency_penalty or 0.0,
                ),
                Pieces(self.tokenizer, self.engine.end_ids, budget, request.stops()),
                answer,
                number,
            )
            for number, (prompt, budget) in enumerate(zip(repeated, budgets, strict=True))
        ]

    def prompts(self, request: ChatRequest | CompletionRequest) -> list[tuple[int, ...]]:
        """The ids that a request's completions follow.

        Raises:
            ApiError: The chat template has no place for a message, or an id is unknown.
        """
        if isinstance(request, ChatRequest):
            return [self._rendered(as_messages(request.messages))]
        return [
            self._rendered([Message("text", text)]) if isinstance(text, str) else self._known(text)
            for text in request.prompts()
        ]

    def _rendered(self, messages: Sequence[Message]) -> tuple[int, ...]:
        try:
            return tuple(prompt_ids(messages, self.tokenizer))
        except AccordError as error:
            said = "; ".join(part for part in (error.what, error.fix) if part)
            raise ApiError(400, said, "messages") from error

    def _known(self, ids: Sequence[int]) -> tuple[int, ...]:
        if max(ids) >= len(self.tokenizer):
            raise ApiError(400, f"ids go from 0 to {len(self.tokenizer) - 1}", "prompt")
        return tuple(ids)

    def _budget(self, request: Sampled, prompt: int) -> int:
        """Tokens that a completion of this prompt may have."""
        key, asked = _limit(request)
        room = self.length - prompt
        if room < max(asked or 1, 1):
            more = f" and {asked} to be completed" if asked else ""
            raise ApiError(
                400,
                f"this model reads {self.length} tokens at most; the prompt has {prompt}{more}: "
                "shorten it or ask for fewer",
                key if asked and room > 0 else "messages",
                "context_length_exceeded",
            )
        if asked is None:
            return room if isinstance(request, ChatRequest) else min(room, _SHORT)
        return asked


def open_served(folders: Sequence[str], capacity: Capacity) -> dict[str, Served]:
    """Load models and start their threads, by name.

    Raises:
        AccordError: A folder holds no model that Accord reads.
    """
    engines = [chat_engine(*load(folder)) for folder in folders]
    return {
        name: Served(name, engine, capacity)
        for name, engine in zip(names(folders), engines, strict=True)
    }


def chat_engine(model: Decoder, tokenizer: Tokenizer) -> Engine:
    """An engine that stops where a turn ends."""
    return Engine(model, tokenizer, tuple(stop_ids(tokenizer)))


def names(folders: Sequence[str]) -> list[str]:
    """A name for each folder: its last part, with those before it until no two are the same.

    Raises:
        AccordError: A folder is given twice.
    """
    parts = [Path(folder.removeprefix("hub:")).expanduser().resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise AccordError("the same folder is given twice", ", ".join(folders), "give it once")
    for size in range(1, max(map(len, parts), default=0) + 1):
        short = ["/".join(part[-size:]).lstrip("/") for part in parts]
        if len(set(short)) == len(short):
            return short
    return []


def named(models: dict[str, Served], name: str) -> Served:
    """The model of this name.

    Raises:
        ApiError: There is none.
    """
    if name not in models:
        raise ApiError(
            404, f"no model '{name[:100]}': {did_you_mean(name[:100], models)}", "model",
            "model_not_found",
        )  # fmt: skip
    return models[name]


def as_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """A request's messages as Accord's; a developer's are the system's."""
    return [
        Message(
            "system" if message.role == "developer" else message.role,
            message.content
            if isinstance(message.content, str)
            else "".join(part.text for part in message.content),
        )
        for message in messages
    ]


def _sampling(request: Sampled) -> SamplingConfig:
    temperature = 1.0 if request.temperature is None else request.temperature
    return SamplingConfig(
        temperature=temperature if temperature >= _COLDEST else 0.0,
        top_p=max(request.top_p or 1.0, _NARROWEST),
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p or 0.0,
    )


def _limit(request: Sampled) -> tuple[str, int | None]:
    """The name and value of the limit on a completion's tokens."""
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        return "max_completion_tokens", request.max_completion_tokens
    return "max_tokens", request.max_tokens


def _alternatives(request: Sampled) -> int | None:
    if isinstance(request, ChatRequest):
        return (request.top_logprobs or 0) if request.logprobs else None
    return request.logprobs if isinstance(request, CompletionRequest) else None
