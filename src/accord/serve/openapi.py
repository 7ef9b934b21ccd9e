"""The server's OpenAPI document, from the models that its requests are checked with."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from accord.serve.schema import (
    ChatCompletion,
    ChatRequest,
    CompletionRequest,
    ErrorBody,
    ModelCard,
    ModelList,
    PreferenceRequest,
    PreferenceSaved,
    TextCompletion,
)

_REFUSALS = {
    "400": "The request is not one",
    "401": "The key is wrong or missing",
    "403": "Without a key another host than localhost was asked",
    "404": "There is no such model",
    "408": "The body took too long to come",
    "413": "The body is too long",
    "415": "The body is not JSON",
    "429": "The queue is full",
    "500": "The server failed",
    "503": "The server is stopping",
}
_POSTS: tuple[tuple[str, str, type[BaseModel], type[BaseModel]], ...] = (
    ("/v1/chat/completions", "Answer a conversation", ChatRequest, ChatCompletion),
    ("/v1/completions", "Go on from a text", CompletionRequest, TextCompletion),
    ("/preferences", "Append a preference", PreferenceRequest, PreferenceSaved),
)
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_STREAMS = ("/v1/chat/completions", "/v1/completions")


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    asked = [(request, "validation") for _, _, request, _ in _POSTS]
    answered = [(answer, "serialization") for *_, answer in _POSTS]
    further = [(kind, "serialization") for kind in (ModelList, ModelCard, ErrorBody)]
    names, schemas = models_json_schema(
        [*asked, *answered, *further],  # pyright: ignore[reportArgumentType]
        ref_template="#/components/schemas/{model}",
    )
    refs: dict[Any, dict[str, Any]] = {kind: ref for (kind, _), ref in names.items()}
    refused = {
        status: {"description": said, "content": _json(refs[ErrorBody])}
        for status, said in _REFUSALS.items()
    }
    paths: dict[str, Any] = {
        path: {"post": _post(path, title, refs[request], refs[answer], refused)}
        for path, title, request, answer in _POSTS
    }
    paths["/v1/models"] = {"get": _get("Which models are served", refs[ModelList], refused)}
    one = _get("One model", refs[ModelCard], refused)
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/v1/models/{name}"] = {"get": one | {"parameters": [name]}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Accord", "version": "1"},
        "paths": paths,
        "security": [{}, {"key": []}],
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(
    path: str, title: str, asked: Any, answered: Any, refused: dict[str, Any]
) -> dict[str, Any]:
    content = _json(answered)
    if path in _STREAMS:
        content["text/event-stream"] = {"schema": _EVENT}
    return {
        "summary": title,
        "requestBody": {"required": True, "content": _json(asked)},
        "responses": {"200": {"description": "Done", "content": content}, **refused},
    }


def _get(title: str, answered: Any, refused: dict[str, Any]) -> dict[str, Any]:
    done = {"description": "Done", "content": _json(answered)}
    return {"summary": title, "responses": {"200": done, **refused}}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
