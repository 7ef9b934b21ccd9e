"""Completions in OpenAI's words: whole answers, chunks of a stream, log-probabilities."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from accord.rollout.continuous import Token
from accord.serve.pieces import Piece
from accord.serve.schema import ChatRequest, CompletionRequest, Sampled
from accord.serve.worker import Job
from accord.text.tokenizer import Tokenizer

DONE = b"data: [DONE]\n\n"


class Words:
    """A request's answer in words; the two kinds of request differ in the table at the end.

    Args:
        request: What was asked.
        model: The model's name.
        tokenizer: Names tokens.
    """

    def __init__(self, request: Sampled, model: str, tokenizer: Tokenizer) -> None:
        self.chat = isinstance(request, ChatRequest)
        self.request, self.model, self.tokenizer = request, model, tokenizer
        self.id = ("chatcmpl-" if self.chat else "cmpl-") + secrets.token_hex(12)
        self.created = int(time.time())
        wanted = request.stream_options
        self.counts = wanted is not None and wanted.include_usage
        self._offset: dict[int, int] = {}

    def whole(self, jobs: Sequence[Job], pieces: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """The answer without a stream, from the pieces of each completion."""
        choices = []
        for number, its in enumerate(pieces):
            text = "".join(piece.text for piece in its)
            tokens = [token for piece in its for token in piece.tokens]
            said: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text, "refusal": None}}
                if self.chat
                else {"text": text}
            )
            choices.append(self._choice(number, said, tokens, its[-1].finish))
        kind = "chat.completion" if self.chat else "text_completion"
        return self._body(kind, choices) | {"usage": usage(jobs)}

    def opening(self, count: int) -> Iterator[bytes]:
        """The first events of a stream: who speaks."""
        if self.chat:
            for number in range(count):
                said = {"delta": {"role": "assistant", "content": ""}}
                yield self._event([self._choice(number, said, [], None)])

    def events(self, number: int, piece: Piece) -> bytes:
        """The event of a piece; a chat's last one says only why it ended."""
        ends = {"delta": {}} if self.chat else {"text": ""}
        if not self.chat:
            said = {"text": piece.text}
            return self._event([self._choice(number, said, piece.tokens, piece.finish)])
        event = b""
        if piece.text or piece.tokens:
            said = {"delta": {"content": piece.text}}
            event = self._event([self._choice(number, said, piece.tokens, None)])
        if piece.finish:
            event += self._event([self._choice(number, ends, [], piece.finish)])
        return event

    def closing(self, jobs: Sequence[Job]) -> bytes:
        """The last events of a stream."""
        counts = (
            _event(self._body(self._chunk, []) | {"usage": usage(jobs)}) if self.counts else b""
        )
        return counts + DONE

    @property
    def _chunk(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        body = self._body(self._chunk, choices)
        return _event(body | {"usage": None} if self.counts else body)

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _choice(
        self, number: int, said: dict[str, Any], tokens: Sequence[Token], finish: str | None
    ) -> dict[str, Any]:
        return {
            "index": number,
            **said,
            "logprobs": self._logprobs(number, tokens),
            "finish_reason": finish,
        }

    def _logprobs(self, number: int, tokens: Sequence[Token]) -> dict[str, Any] | None:
        request = self.request
        if isinstance(request, CompletionRequest):
            return None if request.logprobs is None else self._older(number, tokens)
        if not (isinstance(request, ChatRequest) and request.logprobs and tokens):
            return None
        content = [
            {
                **self._named(token.id, token.logp),
                "top_logprobs": [self._named(*pair) for pair in token.likeliest],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _named(self, token: int, logp: float | None) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        # a token may be part of a character, whose bytes its text does not say
        known = None if "\ufffd" in text else list(text.encode())
        return {"token": text, "logprob": _finite(logp), "bytes": known}

    def _older(self, number: int, tokens: Sequence[Token]) -> dict[str, Any]:
        decode = self.tokenizer.decode
        texts = [decode([token.id]) for token in tokens]
        offsets = []
        for text in texts:
            at = self._offset.get(number, 0)
            offsets.append(at)
            self._offset[number] = at + len(text)
        return {
            "tokens": texts,
            "token_logprobs": [_finite(token.logp) for token in tokens],
            "top_logprobs": [
                {decode([i]): _finite(logp) for i, logp in token.likeliest} for token in tokens
            ],
            "text_offset": offsets,
        }


def usage(jobs: Sequence[Job]) -> dict[str, int]:
    """Token counts of a request; a prompt counts once, whatever `n` is."""
    prompts = {id(job.drawing.prompt): len(job.drawing.prompt) for job in jobs}
    asked, drawn = sum(prompts.values()), sum(len(job.drawing.ids) for job in jobs)
    return {
        "prompt_tokens": asked,
        "completion_tokens": drawn,
        "total_tokens": asked + drawn,
    }


def encoded(body: object) -> bytes:
    """JSON as it is sent: ASCII, since some clients take U+2028 for the end of a line."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _event(body: object) -> bytes:
    return b"data: " + encoded(body) + b"\n\n"


def _finite(logp: float | None) -> float:
    """A log-probability that JSON can say: OpenAI's word for impossible is -9999."""
    return -9999.0 if logp is None or logp < -9999.0 else logp
