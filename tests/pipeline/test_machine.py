"""Cores are counted within the limits this process is under."""

import pytest

from accord.pipeline import machine


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", None), ("150000 100000", 1.5), ("nonsense", None)]
)
def test_quota_of_a_control_group(tmp_path, text, expected):
    (tmp_path / "cpu.max").write_text(text)
    assert machine.quota(tmp_path) == expected


def test_quota_of_the_older_control_groups(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("50000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert machine.quota(tmp_path) == 0.5


def test_hyper_threads_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "affinity", lambda: frozenset(range(4)))
    for number in range(4):
        folder = tmp_path / f"cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n")
        (folder / "core_id").write_text(f"{number % 2}\n")
    assert machine.physical_cores(tmp_path) == 2
    assert machine.physical_cores(tmp_path / "gone") == 4


def test_a_quota_rounds_up_but_never_past_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "physical_cores", lambda: 4)
    for quota, cores in ((None, 4), (0.5, 1), (1.5, 2), (64.0, 4)):
        monkeypatch.setattr(machine, "quota", lambda quota=quota: quota)
        assert machine.usable_cores() == cores


def test_omp_num_threads_has_the_last_word(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    for given, threads in (("3", 3), ("", 4), ("x", 4), ("0", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert machine.threads() == threads


def test_memory_is_that_of_the_group_if_less(tmp_path):
    (tmp_path / "memory.max").write_text("1000")
    assert machine.memory_bytes(tmp_path) == 1000
    (tmp_path / "memory.max").write_text("max")
    assert machine.memory_bytes(tmp_path) > 10**8


def test_a_folder_outside_git_has_no_revision(tmp_path):
    assert machine.git_revision(tmp_path) is None
