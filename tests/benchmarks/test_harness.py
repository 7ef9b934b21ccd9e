"""The gate counts steps, lets nobody run unasked, and the ratio cancels what slows a round."""

import threading
from multiprocessing import Pipe
from typing import Any


def at_gate(contender: Any) -> tuple[Any, list[str], threading.Thread]:
    """A contender in a thread of its own; its end of the pipe, and what it has done so far."""
    from harness import Finished, Gate

    mine, theirs = Pipe()
    done: list[str] = []

    def run() -> None:
        try:
            contender(Gate(theirs), done)
        except Finished:
            done.append("finished")

    thread = threading.Thread(target=run)
    thread.start()
    return mine, done, thread


def endless(gate: Any, done: list[str]) -> None:
    while True:
        gate.step()
        done.append("step")


def test_contender_runs_only_the_steps_it_is_granted() -> None:
    pipe, done, thread = at_gate(endless)
    assert pipe.recv().steps == []
    assert done == []
    for granted in (3, 1):
        pipe.send(granted)
        assert len(pipe.recv().steps) == granted
    assert done == ["step"] * 4
    pipe.send(0)
    thread.join()
    assert done == [*["step"] * 4, "finished"]


def test_phase_waits_for_leave_and_is_timed_apart_from_steps() -> None:
    def prepares(gate: Any, done: list[str]) -> None:
        with gate.phase("reference"):
            done.append("reference")
        endless(gate, done)

    pipe, done, thread = at_gate(prepares)
    assert pipe.recv().waits_for == "reference"
    assert done == []
    pipe.send(1)
    ready = pipe.recv()
    assert ready.waits_for is None
    assert ready.steps == []
    assert ready.notes["reference_seconds"] >= 0
    assert done == ["reference"]
    pipe.send(0)
    thread.join()


def test_ratio_is_of_rounds_not_of_medians() -> None:
    from harness import ratio

    # the machine is ten times slower in the second round, for both alike
    assert ratio([40.0, 4.0, 44.0], [20.0, 2.0, 20.0]) == 2.0


def test_a_failed_contender_is_named_and_gets_no_figures() -> None:
    from harness import Measured, Row
    from tables import columns, lines, notes, to_json

    row = Row("r", "Title", "tokens", (), 1, 2, [("accord", "peer", 5.0)])
    measured = {"peer": Measured(error="no such library"), "accord": Measured([10.0], [10.0])}
    cells = lines(row, measured)
    assert cells[0][:2] == ["peer", "failed"]
    assert {len(line) for line in cells} == {len(columns(row, measured))}
    assert notes(row, measured) == []
    assert to_json(row, measured)["targets"][0]["ratio"] is None


def test_page_says_what_the_result_holds() -> None:
    from harness import Measured, Row
    from tables import page, to_json

    row = Row("dpo", "DPO step", "pairs", (), 1, 2, [("accord bf16", "TRL default", 20.0)])
    measured = {
        "TRL default": Measured([2.0, 4.0], [2.0, 4.0], 1 << 30, 3 << 30),
        "accord bf16": Measured([50.0, 90.0], [50.0, 90.0], 1 << 30, 1 << 30, {"first_loss": 0.5}),
    }
    facts = {
        "date": "2026-01-02T00:00:00+00:00",
        "revision": "abc",
        "threads": 1,
        "quick": True,
        "load": 0.5,
        "gflops": {"fp32": 95, "bf16": 210},
        "environment": {"machine": "Some CPU", "flags": ["avx2"], "cores": 2},
        "versions": {"torch": "2"},
    }
    text = page({"rows": {"dpo": to_json(row, measured) | {"measured": facts}}})
    assert "Measured 2026-01-02, two rounds only, 1 thread on Some CPU (avx2), 2 cores" in text
    assert "## DPO step" in text
    # median of 25 and 22.5
    assert "| accord bf16 | 70.0 | 50.0 to 90.0 | 23.8 (target 20) | 1,024 (0) |" in text
    assert "| TRL default | 3.0 | 2.0 to 4.0 |  | 3,072 (2,048) |" in text
    assert "First loss: accord bf16 0.500." in text


def test_every_contender_gets_the_same_work() -> None:
    import work

    assert work.pair_batches(2) == work.pair_batches(2)
    pairs = [pair for batch in work.pair_batches(4) for pair in batch]
    assert {len(pair.prompt) for pair in pairs} == {64}
    lengths = [len(r) for pair in pairs for r in (pair.chosen, pair.rejected)]
    assert 64 <= min(lengths) <= max(lengths) <= 128
    tokens = work.token_batches(2, 3, 5, 100)
    assert [len(row) for batch in tokens for row in batch] == [5] * 6
    assert max(token for batch in tokens for row in batch for token in row) < 100
