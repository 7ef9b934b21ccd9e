"""The battery's rows 8 to 11 with small numbers; what they call a fault is one."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from battery import finite, invariance, numbers, parity, sampled


@pytest.mark.parametrize("case", ["preference, kto", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_step_without_a_number_is_skipped_and_a_run_of_them_given_up(case: str, tmp_path: Path):
    found = finite.alone(tmp_path, (case,))
    assert found and not any(found.values()), found


def test_a_step_that_is_taken_although_it_is_poisoned_would_be_told(tmp_path: Path):
    home = finite.resume.world(tmp_path / "world")
    own = tmp_path / "huge"
    ended = finite.run(home, "sft", own, finite.STEPS, finite.Poison(1e9, "loss", first=3))
    faults = list(finite.faults_of_a_skip(own, ended))
    assert "skipped {}" in faults and "the skipped step changed the state" in faults
    assert not list(finite.not_finite(own))
    weights = load_file(own / "model.safetensors")
    weights["model.norm.weight"][3] = math.nan
    save_file(weights, own / "model.safetensors")
    assert list(finite.not_finite(own)) == ["step 0: model.norm.weight is not finite"]


def test_gradients_are_those_of_the_whole_batch(tmp_path: Path):
    found = invariance.differences(tmp_path, ("preference",), ranks=1)
    own = found["preference"]
    assert own.pop("largest gradient") > 1e-3
    assert set(own) == set(invariance.SPLITS) - {"1x8"}
    assert all(value <= numbers.NEAR_GRADIENT for value in own.values()), own
    assert found["padded rows, sft"]["padding"] <= numbers.NEAR_GRADIENT
    a = {"w": torch.zeros(2)}
    assert invariance.apart(a, {"w": torch.tensor([0.0, 2e-6])}) > numbers.NEAR_GRADIENT
    assert invariance.apart(a, {}) == math.inf


@pytest.mark.peer
def test_logits_are_those_of_transformers(tmp_path: Path):
    names = tuple(parity.variants())
    assert len(names) >= 27
    outcome = numbers._logits(parity.largest(tmp_path, ("mistral", "mixtral tied, slides")))
    assert outcome.passed and outcome.figure.startswith("2 of 2 variants")
    assert not numbers._logits({"one": {"read": 2e-5}}).passed
    assert not numbers._logits({"one": {"read": math.nan}}).passed


def test_a_roll_out_is_what_the_update_would_have_drawn():
    found = sampled.compared("windows", "top_p 0.8", torch.float32, prompts=4)
    assert numbers.agrees(found) and found["kept"] < 0.5
    for own in ({"apart": 2e-5}, {"ratio": 1.02}, {"outside": 1.0}, {"apart": math.nan}):
        assert not numbers.agrees(found | own)
    half = sampled.compared("dense", "temperature 1", torch.bfloat16, prompts=4)
    assert half["apart"] > numbers.NEAR_LOGIT
