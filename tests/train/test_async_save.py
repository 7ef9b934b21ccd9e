"""Checkpoints in the background: the same run, and what goes wrong in them ends it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import train_toy as toy

import accord.checkpoint.store as module
from accord.checkpoint.store import Store, find_fault
from accord.errors import AccordError

BACKGROUND: dict[str, object] = {"save_every": 1, "keep_last": 9, "async_save": True}


def files(folder: Path) -> dict[str, bytes]:
    found = sorted((folder / "accord" / "checkpoints").rglob("*.*"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in found if file.is_file()}


def test_every_checkpoint_is_that_of_a_run_that_saves_in_its_steps(tmp_path: Path) -> None:
    toy.train(tmp_path / "direct", BACKGROUND | {"async_save": False})
    toy.train(tmp_path / "background", BACKGROUND)
    saved = files(tmp_path / "background")
    assert len(saved) == 6 * 3 and saved == files(tmp_path / "direct")


@pytest.mark.parametrize("failing", [3, 6])  # said by the next save; by the end
def test_a_full_disk_ends_the_run_with_the_last_good_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    save_file = module.save_file

    def full(tensors: Any, path: Path) -> None:
        if path.parent.name == f".tmp-step-{failing}":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", full)
        with pytest.raises(AccordError, match=r"too little disk space .* bytes free, .* needed"):
            toy.train(tmp_path / "run", BACKGROUND)
    latest = Store(tmp_path / "run" / "accord" / "checkpoints").latest()
    assert latest is not None and latest.step == failing - 1 and find_fault(latest.folder) is None
    toy.train(tmp_path / "run", BACKGROUND)
    toy.train(tmp_path / "whole", BACKGROUND)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
