"""What stands before every address: the key, the host, the size of a body; and plain responses."""

import asyncio
import hmac
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from accord.serve.answers import encoded
from accord.serve.errors import ApiError
from accord.serve.hosts import is_local

MOST_BODY = 1_000_000
"""Bytes of a request's body at most."""
_BODY_SECONDS = 30.0
_DRAINED = 32 * MOST_BODY
_OPEN_PATHS = ("/", "/health", "/openapi.json")


class Guard:
    """An ASGI application before another.

    Args:
        app: The other.
        key: What a request must bear as `Authorization: Bearer KEY`. Where there is none, only
            this machine is served, and requests must name it as their host: a page of another site
            whose name was pointed at this machine cannot reach it.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self.app = app
        self._key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            self._check(scope["path"], scope["method"], headers)
        except ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, path: str, method: str, headers: dict[bytes, bytes]) -> None:
        if self._key is None:
            host = headers.get(b"host", b"localhost").decode("latin-1")
            if not is_local(_name_of(host)):
                raise ApiError(403, "without a key the server answers to localhost only")
        elif path not in _OPEN_PATHS:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._key):
                raise ApiError(
                    401,
                    "a key is needed: send the header Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > MOST_BODY:
            raise too_large()
        if method == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            # other kinds can be sent by any site's page without asking the browser's leave
            if kind != b"application/json":
                raise ApiError(415, "send JSON, with the header Content-Type: application/json")


def too_large() -> ApiError:
    """The refusal of a body that is too long."""
    return ApiError(
        413, f"the body is longer than {MOST_BODY} bytes", code="body_too_large",
        headers={"Connection": "close"},
    )  # fmt: skip


async def body_of(request: Request) -> bytes:
    """A request's body; one that turns out too long is read off, kept no longer, and refused.

    Raises:
        ApiError: It is too long, or takes too long.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MOST_BODY:
                    parts.append(part)
                elif size > _DRAINED:
                    break
    except TimeoutError:
        close = {"Connection": "close"}
        raise ApiError(408, "the body took too long to come", headers=close) from None
    if size > MOST_BODY:
        raise too_large()
    return b"".join(parts)


def json_response(body: object, status: int = 200) -> Response:
    """A response of JSON."""
    return Response(encoded(body), status, media_type="application/json")


def refusal(error: ApiError) -> Response:
    """The response to a request that is not answered."""
    response = json_response(error.body(), error.status)
    response.headers.update(error.headers)
    return response


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse at once, then read off some of the body: a client that is still writing would
    otherwise see its connection break instead of the answer."""
    response = refusal(error)
    start = {"type": "http.response.start", "status": response.status_code}
    await send({**start, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    size = 0
    try:
        async with asyncio.timeout(2):
            while size < _DRAINED:
                message: Any = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b""})


def _name_of(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
