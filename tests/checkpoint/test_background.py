import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.checkpoint.background import Background
from accord.checkpoint.store import Store
from accord.errors import AccordError

META = {"tokens": 3}


class Slow(Store):
    """A store whose saves wait to be let go, and fail where they are told to."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        super().__init__(folder, keep_last=9)
        self.go, self.error = threading.Event(), error

    def save(self, *arguments: Any) -> Path:
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return super().save(*arguments)


def test_what_is_written_is_what_stood_when_it_was_saved(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    saver, weights = Background(store), {"a": torch.ones(5)}
    saver.save(4, weights, META)
    weights["a"].mul_(7.0)
    assert store.latest() is None
    store.go.set()
    saver.wait()
    checkpoint = store.latest()
    assert checkpoint is not None and checkpoint.step == 4 and checkpoint.meta == META
    assert torch.equal(checkpoint.tensors()["a"], torch.ones(5))


def test_the_next_save_waits_for_the_one_before(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    saver = Background(store)
    saver.save(1, {"a": torch.ones(2)}, META)
    second = threading.Thread(target=saver.save, args=(2, {"a": torch.ones(2)}, META))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    store.go.set()
    second.join()
    saver.wait()
    assert {path.name for path in tmp_path.iterdir()} == {"step-1", "step-2"}


@pytest.mark.parametrize("then", ["save", "wait"])
def test_what_went_wrong_is_said_once_by_whatever_comes_next(tmp_path: Path, then: str) -> None:
    error = AccordError("too little disk space")
    saver = Background(store := Slow(tmp_path, error))
    store.go.set()
    saver.save(1, {"a": torch.ones(2)}, META)
    saver.join()  # an error that ends the run is not hidden by this one
    store.error = None
    with pytest.raises(AccordError, match="too little disk space"):
        saver.wait() if then == "wait" else saver.save(2, {"a": torch.ones(2)}, META)
    saver.save(3, {"a": torch.ones(2)}, META)
    saver.wait()
    assert {path.name for path in tmp_path.iterdir()} == {"step-3"}
