import json
import sys
from pathlib import Path

import pytest
import torch

from accord.errors import AccordError
from accord.train.metrics import (
    RunLog,
    Sums,
    TensorBoard,
    Window,
    means,
    peak_memory_bytes,
    read_log,
)

CPU = torch.device("cpu")


def test_sums_add_over_micro_batches_and_pack_in_one_order() -> None:
    a, b = Sums(CPU), Sums(CPU)
    a.add("loss", torch.tensor(3.0), torch.tensor(2))
    a.add("entropy", 1.0, 2.0)
    a.add("loss", 1.0, 2.0)
    b.add("entropy", 4.0, 3.0)
    b.add("loss", 0.5, 1.0)
    assert a.unpack(a.pack() + b.pack()) == {"entropy": (5.0, 5.0), "loss": (4.5, 5.0)}
    assert Sums(CPU).unpack(Sums(CPU).pack()) == {}


def test_sums_keep_no_gradient() -> None:
    sums = Sums(CPU)
    sums.add("loss", torch.ones((), requires_grad=True), 1.0)
    assert not sums.pack().requires_grad


def test_means_are_over_weights_not_over_steps() -> None:
    window = Window()
    window.add({"loss": (2.0, 1.0)})
    window.add({"loss": (4.0, 3.0), "none": (1.0, 0.0)})
    window.seconds = 2.0
    assert window.means() == {"loss": 1.5}
    assert window.rate("loss") == 3.0
    assert means({"none": (0.0, 0.0)}) == {}


def test_the_log_is_json_and_can_be_cut(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "accord" / "metrics.jsonl")
    for step in (2, 4, 6):
        log.append({"step": step, "loss": float("nan") if step == 4 else 1.5})
    assert read_log(log.path)[1] == {"step": 4, "loss": None}
    log.sync()
    log.cut(4)
    assert [line["step"] for line in read_log(log.path)] == [2, 4]
    log.cut(0)
    assert log.path.read_text() == ""


def test_a_last_line_cut_short_is_dropped_for_good(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert read_log(log.path) == [{"step": 1}]
    log.cut(1)
    log.append({"step": 2})
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnot json\n{"step": 3}\n')
    with pytest.raises(AccordError, match=r"metrics\.jsonl:2"):
        read_log(path)


def test_peak_memory_is_of_this_process() -> None:
    assert peak_memory_bytes(CPU) > 10_000_000


def test_a_missing_tracker_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AccordError, match=r'pip install "accord\[track\]"'):
        TensorBoard(tmp_path, 0)


def test_peak_memory_is_this_process_s_own() -> None:
    import subprocess
    import sys

    held = bytearray(300 << 20)
    held[::4096] = b"x" * len(held[::4096])
    script = (
        "import sys; from accord.peak import peak_resident_bytes as peak; "
        "before = peak(); held = bytearray(200 << 20); held[::4096] = b'x' * len(held[::4096]); "
        "print(before, peak())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    before, after = map(int, found.stdout.split())
    assert after - before >= 190 << 20
    del held
