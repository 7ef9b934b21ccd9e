import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import accord.checkpoint.store as module
from accord.checkpoint.store import Store, find_fault
from accord.errors import AccordError

FILES = ("tensors.safetensors", "meta.json", "manifest.json")


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {
        "weights/a": torch.full((3, 2), float(step)),
        "optimizer/a/step": torch.tensor(float(step)),
        "half": torch.arange(4, dtype=torch.bfloat16),
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def filled(folder: Path, *steps: int, keep: int = 9) -> tuple[Store, list[str]]:
    warnings: list[str] = []
    store = Store(folder, keep, warnings.append)
    for step in steps:
        store.save(step, tensors(step), {"tokens": step * 10})
    return store, warnings


def test_what_is_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 7)
    checkpoint = store.latest()
    assert checkpoint is not None and checkpoint.step == 7 and checkpoint.meta == {"tokens": 70}
    loaded = checkpoint.tensors()
    assert loaded.keys() == tensors(7).keys()
    for name, tensor in tensors(7).items():
        assert loaded[name].dtype is tensor.dtype and torch.equal(loaded[name], tensor)


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert Store(tmp_path).latest() is None
    assert Store(tmp_path / "missing").latest() is None


def test_latest_is_by_number_not_by_letter(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 9, 10, 100)
    latest = store.latest()
    assert latest is not None and latest.step == 100
    shutil.rmtree(tmp_path / "step-100")
    latest = store.latest()
    assert latest is not None and latest.step == 10


def test_named_steps_stay_beside_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path, 1, keep_steps=(9, 10))
    for step in (8, 9, 10, 11, 12):
        store.save(step, {"w": torch.zeros(2)}, {})
    assert names(tmp_path) == {"step-9", "step-10", "step-12"}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    filled(tmp_path, 8, 9, 10, 11, keep=keep)
    assert names(tmp_path) == {f"step-{s}" for s in (8, 9, 10, 11)[-keep:]}


@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60)
def test_any_flipped_bit_is_found_and_the_one_before_is_taken(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    store, warnings = filled(folder, 1, 2)
    path = folder / "step-2" / name
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    latest = store.latest()
    assert latest is not None and latest.step == 1
    assert len(warnings) == 1 and "step-2 is damaged" in warnings[0]
    assert name in warnings[0] or name == "manifest.json"


@given(name=st.sampled_from(FILES), share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=30)
def test_any_truncation_is_found(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    store, warnings = filled(folder, 1, 2)
    path = folder / "step-2" / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    latest = store.latest()
    assert latest is not None and latest.step == 1
    assert name in warnings[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    store, warnings = filled(tmp_path, 1, 2)
    (tmp_path / "step-2" / name).unlink()
    latest = store.latest()
    assert latest is not None and latest.step == 1
    assert name in warnings[0] and "missing" in warnings[0]


def test_a_checkpoint_under_another_number_is_not_taken(tmp_path: Path) -> None:
    store, warnings = filled(tmp_path, 1, 2)
    (tmp_path / "step-2").rename(tmp_path / "step-3")
    latest = store.latest()
    assert latest is not None and latest.step == 1 and "step-3" in warnings[0]


def test_when_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    store, warnings = filled(tmp_path, 1, 2)
    for step in (1, 2):
        (tmp_path / f"step-{step}" / "meta.json").write_text("{}")
    assert store.latest() is None and len(warnings) == 2


def test_a_run_that_fell_back_leaves_no_later_checkpoint_behind(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 10, 30)
    (tmp_path / "step-30" / "meta.json").write_text("{}")
    store = Store(tmp_path, 1, lambda line: None)
    store.save(20, tensors(20), {})
    assert names(tmp_path) == {"step-20"}


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    store, warnings = filled(tmp_path, 5)
    (tmp_path / "step-5" / "tensors.safetensors").write_bytes(b"broken")
    store.save(5, tensors(6), {"tokens": 1})
    latest = store.latest()
    assert latest is not None and latest.meta == {"tokens": 1} and not warnings
    assert names(tmp_path) == {"step-5"}


def test_half_written_folders_are_cleaned(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 1)
    left = tmp_path / ".tmp-step-2"
    left.mkdir()
    (left / "tensors.safetensors").write_bytes(b"half")
    latest = store.latest()
    assert latest is not None and latest.step == 1
    store.clean()
    assert names(tmp_path) == {"step-1"}


def test_clear_removes_everything(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 1, 2)
    (tmp_path / ".tmp-step-3").mkdir()
    store.clear()
    assert names(tmp_path) == set()


class Killed(BaseException):
    pass


# Every call to the system that `save` makes, in turn: a kill just before any of them.
CALLS = ("mkdir", "write_bytes", "rename", "fsync", "rmtree", "save_file")
LAST_CALL = 13


@pytest.mark.parametrize("kill_at", range(LAST_CALL + 1))
def test_a_kill_before_any_call_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    store, _ = filled(tmp_path, 9, 10, keep=1)
    calls: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if len(calls) == kill_at:
                raise Killed
            calls.append(name)
            return real(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", counted("mkdir", Path.mkdir))
        patch.setattr(Path, "write_bytes", counted("write_bytes", Path.write_bytes))
        patch.setattr(Path, "rename", counted("rename", Path.rename))
        patch.setattr(os, "fsync", counted("fsync", os.fsync))
        patch.setattr(shutil, "rmtree", counted("rmtree", shutil.rmtree))
        patch.setattr(module, "save_file", counted("save_file", module.save_file))
        killed = False
        try:
            store.save(11, tensors(11), {})
        except Killed:
            killed = True
    assert set(calls) <= set(CALLS)
    assert killed == (kill_at < LAST_CALL)
    after, warnings = filled(tmp_path)
    latest = after.latest()
    assert latest is not None and latest.step in (10, 11) and not warnings
    assert find_fault(latest.folder) is None
    after.save(11, tensors(11), {})
    assert names(tmp_path) >= {"step-11"} and not [n for n in names(tmp_path) if "tmp" in n]


def test_order_of_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, manifest and folder are durable before the rename, that before older ones go."""
    store, _ = filled(tmp_path, 1, keep=1)
    order: list[str] = []
    sync, rename, rmtree = module._sync, Path.rename, shutil.rmtree
    monkeypatch.setattr(module, "_sync", lambda p: (order.append(f"sync {p.name}"), sync(p)))
    monkeypatch.setattr(
        Path, "rename", lambda p, to: (order.append(f"rename {to.name}"), rename(p, to))[1]
    )
    monkeypatch.setattr(
        shutil, "rmtree", lambda p, **k: (order.append(f"delete {p.name}"), rmtree(p, **k))
    )
    store.save(2, tensors(2), {})
    assert [line for line in order if line != "delete .tmp-old-step-1"] == [
        "sync tensors.safetensors",
        "sync meta.json",
        "sync manifest.json",
        "sync .tmp-step-2",
        "rename step-2",
        f"sync {tmp_path.name}",
        "rename .tmp-old-step-1",
    ]


def test_too_little_space_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1234))
    with pytest.raises(AccordError, match=r"1,234 bytes free, 1,048,\d+ needed"):
        store.save(2, tensors(2), {})
    assert names(tmp_path) == {"step-1"}


@pytest.mark.parametrize("call", ["save_file", "write_bytes", "fsync"])
def test_a_disk_that_fills_up_while_writing_leaves_the_last_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store, _ = filled(tmp_path, 1)

    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = {"save_file": module, "write_bytes": Path, "fsync": os}[call]
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, full)
        with pytest.raises(AccordError, match=r"too little disk space .* bytes free, .* needed"):
            store.save(2, tensors(2), {})
    assert names(tmp_path) == {"step-1"}
    latest = store.latest()
    assert latest is not None and latest.step == 1


def test_whatever_else_keeps_a_checkpoint_from_being_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(tmp_path, 1)

    def broken(*arguments: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(AccordError, match=r"could not be written: .*Input/output error"):
            store.save(2, tensors(2), {})
    assert names(tmp_path) == {"step-1"}


def test_safetensors_says_full_in_words() -> None:
    """Its words on a full tmpfs, as safetensors has them."""
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    assert module.is_full(module.SafetensorError(said))
    assert not module.is_full(module.SafetensorError("header too large"))


def test_nothing_but_safetensors_and_json_is_written(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    assert names(tmp_path / "step-3") == set(FILES)
    for name in ("meta.json", "manifest.json"):
        json.loads((tmp_path / "step-3" / name).read_text())
