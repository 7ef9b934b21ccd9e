"""Damage, full disks and retention: the battery's cases, small, and that they can fail."""

import random
from pathlib import Path

import pytest

from accord.checkpoint import store
from accord.pipeline.lock import locked
from battery import checkpoints, retention, small_disk


@pytest.fixture
def two(tmp_path: Path) -> Path:
    checkpoints.filled(tmp_path / "two", 1, 2)
    return tmp_path / "two"


def test_every_truncation_is_detected_and_the_file_named(two: Path) -> None:
    tried, missed = checkpoints.found(two, checkpoints.cuts(two))
    assert tried > 300 and not missed


def test_every_flipped_bit_is_detected(two: Path) -> None:
    assert checkpoints.found(two, checkpoints.flips(two, 60, 1)) == (60, [])


def test_a_check_that_sees_nothing_is_found_out(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "find_fault", lambda folder: None)
    tried, missed = checkpoints.found(two, checkpoints.flips(two, 9, 1))
    assert tried == len(missed) == 9


def test_lengths_cover_every_class() -> None:
    assert checkpoints.lengths(5) == [0, 1, 2, 3, 4]
    long = checkpoints.lengths(5000)
    assert {0, 1, 7, 8, 9, 4096, 4999, 4992, 2500} <= set(long) and max(long) < 5000


def test_a_disk_that_is_full_at_any_offset_leaves_the_last_good(tmp_path: Path) -> None:
    checkpoints.filled(tmp_path, 1)
    rooms = [0, 1, 8, 100, 700, 1500, 2000, 2300]
    assert [checkpoints.full_at(tmp_path, room) for room in rooms] == [None] * len(rooms)
    assert checkpoints.full_at(tmp_path, 1 << 20) == "no error"


def test_a_run_is_refused_before_it_begins(tmp_path: Path) -> None:
    assert checkpoints.refused_before(tmp_path) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_previous_goes_only_when_the_new_one_is_durable(tmp_path: Path, seed: int) -> None:
    assert retention.retained(tmp_path, random.Random(seed)) == []


def test_another_order_is_found_out(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []
    saves, _ = checkpoints.filled(tmp_path, 1, keep=1)
    with retention.traced(calls):
        saves.save(2, checkpoints.tensors(2), {})
    assert retention.order_fault(calls, tmp_path, 2) is None
    for early in (index for index, call in enumerate(calls) if "step-1" in call[1]):
        moved = [calls[early], *calls[:early], *calls[early + 1 :]]
        if calls[early][1].startswith(str(tmp_path / "step-1")):
            assert "before the new one stood" in str(retention.order_fault(moved, tmp_path, 2))
    unsynced = [call for call in calls if not call[1].endswith("meta.json")]
    assert "renamed before" in str(retention.order_fault(unsynced, tmp_path, 2))


@pytest.mark.slow
def test_a_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    assert retention.second_run(tmp_path) == []
    with locked(tmp_path / "runs" / "tiny" / ".lock"):
        pass  # the one that was killed holds nothing any more


@pytest.mark.slow
def test_a_real_disk_that_fills_up(tmp_path: Path) -> None:
    done, faults = small_disk.filled_up(tmp_path / "real", {"base": 0})
    assert not faults, done
