"""Chat templates rendered within bounds: half a second of CPU time and 256 MB, in another process.

A template is code of whoever made the model folder. The process that runs it is started once and
asked again and again; where a template breaks its bounds the kernel ends it, and the next
conversation gets a new one.
"""

import atexit
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock

from accord.errors import AccordError
from accord.text.jinja_child import CPU_SECONDS, MEMORY, PER_CHARACTER, ROOM
from accord.text.messages import Message

Run = tuple[Sequence[Message], bool]
"""A conversation, and whether the generation prompt is added."""

_CHILD = Path(__file__).with_name("jinja_child.py")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""What a Python may need to start; a template has no business with the rest."""
_STALLED = 60.0
"""Seconds on the clock after which a process that does nothing is ended."""


def rendered(
    source: str, runs: Sequence[Run], tokens: Mapping[str, str]
) -> list[str | AccordError]:
    """What a Jinja template makes of each conversation, or why it refuses it.

    Raises:
        AccordError: The template breaks its bounds.
    """
    rows = [
        ([{"role": m.role, "content": m.content} for m in messages], generation)
        for messages, generation in runs
    ]
    answers = renderer().ask({"source": source, "runs": rows, "tokens": dict(tokens)})
    return [text if kind == "text" else _told(kind, text) for kind, text in answers]


def refusal(what: str, fix: str = "choose one of Accord's chat templates") -> AccordError:
    """The error for a template that cannot be used."""
    return AccordError(what, where="chat_template", fix=fix)


class Renderer:
    """The process, started when it is first asked; threads take turns."""

    def __init__(self) -> None:
        self._lock, self._owner = Lock(), os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, request: Mapping[str, object]) -> list[tuple[str, str]]:
        """Kind and text of every run's answer.

        Raises:
            AccordError: The process ended over it, or gave more than a rendering may have.
        """
        sent = json.dumps(request).encode() + b"\n"
        # a character is at most 12 bytes of JSON, and the request holds every content
        room = (ROOM + PER_CHARACTER * len(sent)) * 12
        with self._lock:
            process = self._process or self._start()
            try:
                assert process.stdin and process.stdout
                process.stdin.write(sent)
                process.stdin.flush()
                line = _line(process.stdout.fileno(), room)
            except (BrokenPipeError, TimeoutError):
                line = b""
            if line:
                return json.loads(line)
            raise self._ended(process)

    def memory_limit(self) -> int | None:
        """Bytes of address space that the running process may have, where the system tells."""
        if self._process is None or not hasattr(resource, "prlimit"):
            return None
        return resource.prlimit(self._process.pid, resource.RLIMIT_AS)[0]

    def close(self) -> None:
        """End the process; one that a fork has inherited is not its own."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # a session of its own: Ctrl-C is for the run, which ends its renderer itself
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept,
            start_new_session=True,
        )
        return self._process

    def _ended(self, process: subprocess.Popen[bytes]) -> AccordError:
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        if code == -signal.SIGPROF:
            return refusal(f"the chat template takes more than {CPU_SECONDS:g} s to render")
        why = "gave no end" if code is None else f"ended with {code}"
        return refusal(f"the chat template broke the process that renders it, which {why}")


def renderer() -> Renderer:
    """This process's renderer."""
    return _renderer(os.getpid())


@cache
def _renderer(process: int) -> Renderer:
    """The renderer of a process: a fork must not talk into its parent's."""
    return Renderer()


def _line(descriptor: int, room: int) -> bytes:
    """A line without its end; nothing where the stream ends, stalls, or goes on past `room`."""
    line = bytearray()
    until = time.monotonic() + _STALLED
    while len(line) <= room and select.select([descriptor], [], [], until - time.monotonic())[0]:
        block = os.read(descriptor, 1 << 16)
        if not block:
            return b""
        line += block
        if block.endswith(b"\n"):
            return bytes(line)
        until = time.monotonic() + _STALLED
    return b""


def _told(kind: str, text: str) -> AccordError:
    return refusal(
        {
            "memory": f"the chat template needs more than {MEMORY // 2**20} MB to render",
            "long": f"the chat template makes {text} characters of a short conversation",
            "invalid": f"the chat template is not valid Jinja: {text}",
            "refuses": f"the chat template refuses the conversation: {text}",
        }.get(kind, f"the chat template fails: {text}")
    )
