"""Checkpoints written beside training: copied in the step, made durable by one thread.

A kill at any instant finds what it finds after a direct save: the last durable checkpoint, or the
new one. What goes wrong in the thread is raised by the next `save` or `wait`.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from accord.checkpoint.store import Store


class Saver(Protocol):
    """How a run's checkpoints reach its store."""

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take over a checkpoint; the tensors may change as soon as this returns."""
        ...

    def wait(self) -> None:
        """Return when everything taken over is durable; raises what kept it from being so."""
        ...

    def join(self) -> None:
        """Return when nothing is being written any more, however it went."""
        ...


class Direct:
    """Saves at once: `save` returns when the checkpoint is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write the checkpoint; raises as `Store.save`."""
        self._store.save(step, tensors, meta)

    def wait(self) -> None:
        """Nothing is under way."""

    def join(self) -> None:
        """Nothing is under way."""


class Background:
    """Copies the state to CPU memory and lets one thread write it; one save at a time.

    It holds one more copy of the state in memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Wait for the save before this one, copy, and return while it is written.

        Raises:
            AccordError: What the save before this one came to, such as a full disk.
        """
        self.wait()
        # the optimiser's next step changes the tensors in place
        held = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}

        def write() -> None:
            try:
                self._store.save(step, held, meta)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=write, name=f"checkpoint of step {step}")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the save that is under way.

        Raises:
            AccordError: As `Store.save`; the last good checkpoint is untouched.
        """
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self) -> None:
        """Wait for the thread alone: an error that ends the run is not to be hidden by another."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


SAVERS: Mapping[bool, Callable[[Store], Saver]] = {False: Direct, True: Background}
"""By `async_save`."""
