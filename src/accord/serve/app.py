"""The server's addresses. Needs the extra `serve`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from accord.serve.answers import Words, encoded
from accord.serve.errors import ApiError
from accord.serve.guard import Guard, body_of, json_response, refusal
from accord.serve.openapi import document
from accord.serve.page import page
from accord.serve.pieces import Piece
from accord.serve.preferences import append, preference_rows
from accord.serve.schema import ChatRequest, CompletionRequest, PreferenceRequest, Strict
from accord.serve.served import Served, as_messages, named
from accord.serve.worker import Job

Asked = TypeVar("Asked", bound=Strict)

PATIENCE = 60.0
"""Seconds that a client may take to read what was sent, before it is given up."""


def application(models: dict[str, Served], preferences: str, key: str | None = None) -> Guard:
    """The server as an ASGI application.

    Args:
        models: What is served.
        preferences: File that the page's preferences are appended to.
        key: What requests must bear, if anything.
    """
    routes = Routes(models, preferences)
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        ApiError: _refused,
        HTTPException: _unrouted,
        Exception: _failed,
    }
    shown, policy = page()
    app = Starlette(
        routes=[
            Route("/", lambda _: Response(shown, media_type="text/html", headers=policy)),
            Route("/health", _health),
            Route("/openapi.json", lambda _: json_response(document())),
            Route("/v1/models", routes.models_list),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.completion, methods=["POST"]),
            Route("/preferences", routes.prefer, methods=["POST"]),
        ],
        exception_handlers=handlers,
    )
    return Guard(app, key)


class Routes:
    """What the addresses do."""

    def __init__(self, models: dict[str, Served], preferences: str) -> None:
        self.models, self.preferences = models, preferences

    async def models_list(self, _: Request) -> Response:
        """`GET /v1/models`."""
        return json_response(
            {"object": "list", "data": [_card(model) for model in self.models.values()]}
        )

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/NAME`."""
        return json_response(_card(named(self.models, request.path_params["name"])))

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        return await self._complete(request, ChatRequest)

    async def completion(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        return await self._complete(request, CompletionRequest)

    async def prefer(self, request: Request) -> Response:
        """`POST /preferences`."""
        wanted = parsed(PreferenceRequest, await body_of(request))
        rows = preference_rows(
            as_messages(wanted.prompt),
            wanted.chosen,
            wanted.rejected,
            wanted.chosen_model,
            wanted.rejected_models,
        )
        await asyncio.to_thread(append, self.preferences, rows)
        return json_response({"rows": len(rows), "file": self.preferences})

    async def _complete(
        self, request: Request, kind: type[ChatRequest] | type[CompletionRequest]
    ) -> Response:
        wanted = parsed(kind, await body_of(request))
        model = named(self.models, wanted.model)
        # a long text takes long to encode; the others go on meanwhile
        prompts = await asyncio.to_thread(model.prompts, wanted)
        jobs = model.jobs(wanted, prompts, asyncio.get_running_loop())
        words = Words(wanted, model.name, model.tokenizer)
        model.worker.submit(jobs)
        return Completing(model, jobs, words, bool(wanted.stream))


class Completing(Response):
    """A response that sends an answer while or after it is drawn, and ends it when nobody reads.

    Args:
        model: Who draws.
        jobs: The completions, submitted.
        words: Puts them in words.
        stream: Whether they are sent as they are drawn.
    """

    def __init__(self, model: Served, jobs: Sequence[Job], words: Words, stream: bool) -> None:
        super().__init__()
        self.model, self.jobs, self.words = model, jobs, words
        self.answer = jobs[0].answer
        self.send_it = self._streamed if stream else self._whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; the client's going ends it."""
        sending = asyncio.ensure_future(self.send_it(scope, receive, send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.model.worker.close(self.jobs)
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            with suppress(asyncio.CancelledError, TimeoutError):
                await sending

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces: list[list[Piece]] = [[] for _ in self.jobs]
        try:
            while news := await self.answer.news():
                for number, piece in news:
                    pieces[number].append(piece)
            response = json_response(self.words.whole(self.jobs, pieces))
        except ApiError as error:
            response = refusal(error)
        await response(scope, receive, _patient(send))

    async def _streamed(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = _patient(send)
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _body(send, b"".join(self.words.opening(len(self.jobs))), True)
        try:
            while news := await self.answer.news():
                events = b"".join(self.words.events(number, piece) for number, piece in news)
                await _body(send, events, True)
            last = self.words.closing(self.jobs)
        except ApiError as error:
            last = b"data: " + encoded(error.body()) + b"\n\n"
        await _body(send, last, False)


def parsed(kind: type[Asked], body: bytes) -> Asked:
    """A request's body as what it should be.

    Raises:
        ApiError: It is not.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise ApiError(400, said, str(first["loc"][0]) if where else None) from error


def _patient(send: Send) -> Send:
    """A send that gives up on a client who does not read.

    Raises:
        TimeoutError: After `PATIENCE` seconds.
    """

    async def sending(message: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await send(message)

    return sending


async def _body(send: Send, body: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _card(model: Served) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "accord",
        "max_model_len": model.length,
    }


async def _health(_: Request) -> Response:
    return json_response({"status": "ok", "time": int(time.time())})


async def _refused(_: Request, error: ApiError) -> Response:
    return refusal(error)


async def _unrouted(request: Request, error: HTTPException) -> Response:
    path, method = request.url.path[:200], request.method[:20]
    said = {404: f"there is nothing at {path}", 405: f"{path} does not take {method}"}
    headers = dict(error.headers or {})
    message = said.get(error.status_code, error.detail)
    return refusal(ApiError(error.status_code, message, headers=headers))


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)
    return refusal(ApiError(500, "the server failed at this request", code="internal"))
