"""One decoding thread a model: requests join between steps, the dropped leave before the next.

Between the threads passes one message a step: what each completion may show since the last.
"""

import logging
import threading
from asyncio import AbstractEventLoop, Event
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from accord.rollout.continuous import Continuous, Drawing, Token
from accord.serve.errors import ApiError, full
from accord.serve.pieces import Piece, Pieces

_PREFILL_TOKENS = 2048  # of prompts read between two steps, unless one alone is longer
_STOPPING = ApiError(503, "the server is stopping", code="stopping")
_FAULT = ApiError(500, "the model failed at this completion", code="decoding_failed")


class Answer:
    """A request's completions as the event loop sees them.

    What waits to be sent is bounded by the completions themselves, which are bounded by the
    context: a slow reader holds up neither the others nor more memory than its own answer.

    Args:
        loop: The loop of its reader.
        count: How many completions it has.
    """

    def __init__(self, loop: AbstractEventLoop, count: int) -> None:
        self.loop, self.unfinished = loop, count
        self.dropped = False
        self._ready = Event()
        self._news: list[tuple[int, Piece]] = []
        self._error: ApiError | None = None

    async def news(self) -> list[tuple[int, Piece]]:
        """What came since the last call, with each completion's number; empty at the end.

        Raises:
            ApiError: The completion could not be drawn.
        """
        while not self._news and self.unfinished and self._error is None:
            self._ready.clear()
            await self._ready.wait()
        if self._error is not None:
            raise self._error
        news, self._news = self._news, []
        self.unfinished -= sum(piece.finish is not None for _, piece in news)
        return news

    def give(self, number: int, piece: Piece) -> None:
        """Called in the loop: a piece has come."""
        self._news.append((number, piece))
        self._ready.set()

    def fail(self, error: ApiError) -> None:
        """Called in the loop: nothing more will come."""
        self._error = error
        self._ready.set()


@dataclass(eq=False)
class Job:
    """A completion and whom it is for.

    Args:
        drawing: What is drawn.
        pieces: Makes text of it.
        answer: Gets the text.
        number: The completion's number in the answer.
    """

    drawing: Drawing
    pieces: Pieces
    answer: Answer
    number: int


class Worker:
    """Draws completions in a thread of its own.

    Args:
        build: Gives the batch; called again after a failure.
        queue: Completions that may wait for a place.
    """

    def __init__(self, build: Callable[[], Continuous], queue: int) -> None:
        self._build, self.queue = build, queue
        self._batch = build()
        self.slots = self._batch.slots
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs: dict[int, Job] = {}
        self._open = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add a request's completions, all of them or none; `close` gives their places back.

        Raises:
            ApiError: The queue is full, or the server stops.
        """
        with self._changed:
            if self._stopping:
                raise _STOPPING
            if self._open + len(jobs) > self.slots + self.queue:
                raise full(self._open)
            self._open += len(jobs)
            self._waiting.extend(jobs)
            self._changed.notify()

    def close(self, jobs: Sequence[Job]) -> None:
        """Nobody reads these any more: those that are unfinished leave before the next step."""
        with self._changed:
            self._open -= len(jobs)
            for job in jobs:
                job.answer.dropped = True

    @property
    def open(self) -> int:
        """Completions that were submitted and not closed."""
        return self._open

    @property
    def decoding(self) -> int:
        """Completions that have a place in the batch."""
        return len(self._jobs)

    def stop(self) -> None:
        """End the thread after its present step; what is unfinished fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._jobs or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    break
            try:
                self._turn()
            except Exception as error:
                self._failed(error)
        self._fail_all(_STOPPING)

    def _turn(self) -> None:
        """Let the dropped leave and others join, then draw a token for every completion."""
        batch = self._batch
        self._leave([job for job in self._jobs.values() if job.answer.dropped])
        joining = self._joining(batch.room)
        if joining:
            drawings = [job.drawing for job in joining]
            self._noted(drawings, batch.join(drawings))
        if batch.live:
            self._noted(batch.live, batch.step())

    def _joining(self, room: int) -> list[Job]:
        """Take jobs off the queue, as many as have room and one reading should take."""
        joining: list[Job] = []
        prompts: set[tuple[int, ...]] = set()
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.answer.dropped)
            while self._waiting and len(joining) < room:
                job = self._waiting[0]
                prompts.add(job.drawing.prompt)
                if joining and sum(map(len, prompts)) > _PREFILL_TOKENS:
                    break
                joining.append(self._waiting.popleft())
                self._jobs[id(job.drawing)] = job
        return joining

    def _noted(self, drawings: Sequence[Drawing], tokens: Sequence[Token]) -> None:
        """Hand over what the tokens show; completions that ended leave."""
        news: dict[AbstractEventLoop, list[tuple[Answer, int, Piece]]] = {}
        ended: list[Job] = []
        for drawing, token in zip(drawings, tokens, strict=True):
            job = self._jobs[id(drawing)]
            piece = job.pieces.add(token)
            if piece is not None:
                news.setdefault(job.answer.loop, []).append((job.answer, job.number, piece))
                if piece.finish:
                    ended.append(job)
        # they leave first: whoever reads an answer's end finds its place free
        self._leave(ended)
        for loop, pieces in news.items():
            _in_loop(loop, lambda pieces=pieces: _give(pieces))

    def _leave(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self._batch.leave([job.drawing for job in jobs])
            with self._changed:
                for job in jobs:
                    del self._jobs[id(job.drawing)]

    def _failed(self, error: Exception) -> None:
        """A step failed, which cannot be one request's fault: all in the batch are refused."""
        logging.getLogger("accord.serve").error("decoding failed", exc_info=error)
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
        self._fail_all(_FAULT)
        with self._changed:
            self._waiting.extendleft(reversed(waiting))
        self._batch = self._build()

    def _fail_all(self, error: ApiError) -> None:
        with self._changed:
            jobs = [*self._jobs.values(), *self._waiting]
            self._jobs.clear()
            self._waiting.clear()
        for job in jobs:
            _in_loop(job.answer.loop, lambda job=job: job.answer.fail(error))


def _give(pieces: Sequence[tuple[Answer, int, Piece]]) -> None:
    for answer, number, piece in pieces:
        answer.give(number, piece)


def _in_loop(loop: AbstractEventLoop, work: Callable[[], None]) -> None:
    """Have the loop do it, unless it has ended: then nobody reads."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
