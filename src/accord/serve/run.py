"""The server as a process: where it listens, and how it ends."""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from accord.errors import AccordError
from accord.serve.hosts import is_local
from accord.serve.served import Capacity, Served, open_served

_DRAIN_SECONDS = 30


def serve(
    folders: Sequence[str],
    host: str,
    port: int,
    key: str | None,
    preferences: str,
    capacity: Capacity,
) -> None:
    """Serve models until SIGINT or SIGTERM; answers that are under way then are finished.

    Args:
        folders: Model folders, or `hub:owner/name`.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        key: What requests must bear, if anything.
        preferences: File that the page's preferences are appended to.
        capacity: How much each model takes on.

    Raises:
        AccordError: The extra is not installed, another than this machine's own address without a
            key, an empty key, an address that cannot be had, or a folder without a model.
    """
    check_installed()
    check_address(host, key)
    bound = listening(host, port)
    with bound:
        models = open_served(folders, capacity)
        _run(models, bound, key, preferences)


def check_installed() -> None:
    """Refuse to go on without what the extra brings.

    Raises:
        AccordError: It is not installed.
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise AccordError(
            f"serving needs {' and '.join(missing)}", fix="pip install 'accord[serve]'"
        )


def check_address(host: str, key: str | None) -> None:
    """Refuse to listen to others without a key.

    Raises:
        AccordError: No key, or one that cannot be sent in a header.
    """
    if key is not None and not (key and key.isascii() and key.isprintable() and key == key.strip()):
        raise AccordError(
            "the key is empty or holds blanks at its ends or letters beyond ASCII",
            "--api-key",
            "give it letters, digits and signs",
        )
    if key is None and not is_local(host):
        raise AccordError(
            f"at {host} everyone who reaches this machine could use the models",
            "--host",
            "set ACCORD_API_KEY (or --api-key), or listen at 127.0.0.1",
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        AccordError: The address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise AccordError(
            f"cannot listen at {host}:{port}: {said}", "--port", "choose another port or address"
        ) from error


def _run(
    models: dict[str, Served], bound: socket.socket, key: str | None, preferences: str
) -> None:
    import uvicorn  # noqa: PLC0415

    from accord.serve.app import application  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING)
    config = uvicorn.Config(
        application(models, preferences, key),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    host, port = bound.getsockname()[:2]
    print(f"serving {', '.join(models)} at http://{_shown(host)}:{port}", flush=True)
    print("chat page at /, OpenAI's interface at /v1; Ctrl-C ends it", flush=True)
    # uvicorn ends as it should and then raises what it was told to end by
    before = {number: signal.signal(number, _noted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for model in models.values():
            model.worker.stop()


def _noted(number: int, frame: Any) -> None:
    """Do nothing: the server has ended by this signal."""


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
