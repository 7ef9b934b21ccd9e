import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spike_toy as toy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file

from accord.checkpoint.store import Store
from accord.config.stages import SFTStage
from accord.config.train import TrainConfig
from accord.errors import AccordError
from accord.pipeline.files import hash_json
from accord.pipeline.fingerprint import FORMAT, NO_EFFECT, fingerprint
from accord.train.metrics import read_log
from accord.train.resume import Cursor, refuse_other_run, run_identity
from accord.train.spikes import FEWEST, RECENT, deviations, spiked

LIMIT: dict[str, Any] = {"skip_spikes": 12.0}


def odd_rows() -> list[str]:
    return [row.row_id for row in toy.source().rows(toy.ODD - 1)]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].numpy().tobytes() == b[n].numpy().tobytes() for n in a)


def test_deviations_by_hand():
    recent = [1.0, 2.0, 3.0, 4.0] * 4
    # median 2.5, distances 0.5 and 1.5: their median 1
    assert deviations(2.5 + 3 * 1.4826, recent) == pytest.approx(3.0)
    assert deviations(2.5 - 3 * 1.4826, recent) == pytest.approx(-3.0)
    assert deviations(1e9, recent[: FEWEST - 1]) == 0.0
    # all alike: 1 % of the median is the deviation
    assert deviations(2.1, [2.0] * 16) == pytest.approx(5.0)
    assert deviations(1.0, [0.0] * 16) > 1e9


@given(
    st.lists(st.floats(-5, 5), min_size=FEWEST, max_size=40),
    st.floats(-9, 9),
    st.floats(0.1, 10),
    st.floats(1, 20),
)
@settings(deadline=None, max_examples=60)
def test_the_unit_of_a_loss_does_not_matter(recent: list[float], v: float, by: float, limit: float):
    scaled = deviations(v * by, [each * by for each in recent])
    if deviations(v, recent) < 1e6:
        assert scaled == pytest.approx(deviations(v, recent), rel=1e-6, abs=1e-6)


def test_only_what_was_taken_is_remembered_and_no_more_than_the_window():
    cursor = Cursor()
    for step in range(200):
        assert not spiked(cursor, 2.0 + 0.01 * (step % 7), 1.0, 10.0)
    assert len(cursor.losses) == len(cursor.norms) == RECENT
    before = list(cursor.losses)
    assert spiked(cursor, 9.0, 1.0, 10.0) and spiked(cursor, 2.0, 30.0, 10.0)
    assert cursor.losses == before
    assert not spiked(cursor, 9e9, 9e9, None)


@pytest.mark.parametrize("value", [0, -1, "often"])
def test_the_limit_is_a_number_above_0(value: object):
    with pytest.raises(ValidationError):
        TrainConfig.model_validate({"steps": 1, "skip_spikes": value})


def test_the_weights_are_those_of_a_run_without_the_odd_step(tmp_path: Path):
    """The twin's step has no number for a loss, so that it is left out in another way."""
    made = toy.trainer(tmp_path / "spike", LIMIT)
    twin = toy.trainer(tmp_path / "twin", {}, factor=math.nan)
    plain = toy.trainer(tmp_path / "plain", {})
    results = [trainer.fit() for trainer in (made, twin, plain)]
    assert [result.skipped for result in results] == [1, 1, 0]
    assert same(made.export_state(), twin.export_state())
    assert not same(made.export_state(), plain.export_state())
    lines = read_log(tmp_path / "spike" / "accord" / "metrics.jsonl")
    named = {line["step"]: line["spike_rows"] for line in lines if "spike_rows" in line}
    assert list(named) == [toy.ODD] and sorted(named[toy.ODD]) == sorted(odd_rows())


def test_a_rise_that_lasts_is_taken_after_five_steps(tmp_path: Path):
    cursor = Cursor(losses=[2.0, 2.1] * 10, norms=[1.0, 1.1] * 10)
    from accord.train.parallel import current_ranks
    from accord.train.spikes import leave_out

    said: list[str] = []
    for _ in range(5):
        assert spiked(cursor, 8.0, 1.0, 10.0)
        seen = [(torch.zeros(()), ("a", "b")), (torch.zeros(()), ("a",))]
        assert leave_out(cursor, 8.0, 1.0, seen, current_ranks(), said.append) == ["a", "b"]
    assert "a rise that lasts is no spike" in said[-1]
    assert not spiked(cursor, 8.0, 1.0, 10.0)
    assert (cursor.skipped, cursor.skipped_in_a_row, cursor.losses) == (5, 0, [8.0])


def test_a_run_goes_on_only_with_the_limit_it_began_with(tmp_path: Path):
    toy.trainer(tmp_path, LIMIT).fit()
    with pytest.raises(AccordError, match=r"skip_spikes was 12\.0 and is None"):
        toy.trainer(tmp_path, {}).fit()
    toy.trainer(tmp_path / "plain", {}).fit()
    with pytest.raises(AccordError, match=r"skip_spikes was None and is 12\.0"):
        toy.trainer(tmp_path / "plain", LIMIT).fit()


def start(folder: Path, ranks: int, own: dict[str, Any]) -> int:
    done = subprocess.run(
        [sys.executable, toy.__file__, str(folder), str(ranks), json.dumps(LIMIT | own)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("dies", [toy.ODD - 1, toy.ODD], ids=["before it", "after it"])
def test_a_run_killed_at_the_spike_ends_in_the_same_bytes(tmp_path: Path, dies: int):
    whole = toy.trainer(tmp_path / "whole", LIMIT)
    assert whole.fit().skipped == 1
    often = {"save_every": 1}
    assert start(tmp_path / "cut", 1, often | {"dies": dies}) == -signal.SIGKILL
    assert start(tmp_path / "cut", 1, often) == 0
    assert same(load_file(tmp_path / "cut" / "final.safetensors"), whole.export_state())
    metas = [Store(tmp_path / run / "accord" / "checkpoints").latest() for run in ("whole", "cut")]
    assert metas[0] and metas[1] and metas[0].meta == metas[1].meta


@pytest.mark.slow
def test_two_ranks_leave_out_the_same_step(tmp_path: Path):
    one = toy.trainer(tmp_path / "one", LIMIT | {"eps": 1e-3})
    one.fit()
    assert start(tmp_path / "two", 2, {"eps": 1e-3}) == 0
    there = load_file(tmp_path / "two" / "final.safetensors")
    for name, weight in one.export_state().items():
        assert (there[name] - weight).norm() <= 1e-5 * weight.norm()
    named = [
        {line["step"]: sorted(line["spike_rows"]) for line in lines if "spike_rows" in line}
        for lines in (
            read_log(tmp_path / run / "accord" / "metrics.jsonl") for run in ("one", "two")
        )
    ]
    assert named[0] == named[1] == {toy.ODD: sorted(odd_rows())}


def test_a_run_from_before_the_key_is_the_same_run():
    config = TrainConfig(steps=3)
    assert "skip_spikes" not in run_identity(config, 3, "")
    refuse_other_run(run_identity(config, 3, ""), run_identity(config, 3, ""), Path())
    asked = TrainConfig(steps=3, skip_spikes=9.0)
    assert run_identity(asked, 3, "")["skip_spikes"] == 9.0


def test_results_from_before_the_key_still_stand():
    before = SFTStage.model_validate(
        {"kind": "sft", "from": "base", "data": [{"source": "a.jsonl"}], "steps": 3}
    )
    left = {*NO_EFFECT, "seed", "skip_spikes"}
    settings = before.model_dump(mode="json", by_alias=True, exclude=left)
    parts = {"format": FORMAT, "settings": settings, "seed": 1, "inputs": {}, "data": {}}
    assert fingerprint(before, 1, {}, {}) == hash_json(parts)
    asked = before.model_copy(update={"skip_spikes": 9.0})
    assert fingerprint(asked, 1, {}, {}) != hash_json(parts)
