"""Exact resume: the battery's cases with fewer steps."""

from pathlib import Path

import pytest

from battery import resume

pytestmark = pytest.mark.slow
STAGES = {str(settings["kind"]) for settings in resume.CASES.values()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resume.world(tmp_path_factory.mktemp("resume"))


def test_every_trained_stage_is_there() -> None:
    assert {"pretrain", "sft", "reward", "preference", "ppo", "grpo", "online"} == STAGES


@pytest.mark.parametrize("case", resume.CASES)
def test_lives_that_die_in_an_accumulation_end_in_the_same_bytes(
    case: str, home: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    resume.trained(home, case, whole, 3)
    assert resume.mid_accumulation(home, case, whole, 3) == []


def test_a_stage_resumes_at_every_step(home: Path, tmp_path: Path) -> None:
    assert resume.stopped_everywhere(home, "reward", tmp_path, 6) == []


def test_a_difference_is_found_out(home: Path, tmp_path: Path) -> None:
    whole, other = tmp_path / "whole", tmp_path / "other"
    resume.trained(home, "sft", whole, 2)
    resume.cut_back(whole, other, 1)
    # another learning rate is refused by the run itself: what is changed here is the result
    resume.trained(home, "sft", other, 2)
    path = other / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert list(resume.differences(other, whole)) == ["model.safetensors"]


def test_a_run_goes_on_past_a_damaged_checkpoint(tmp_path: Path) -> None:
    assert resume.past_a_damaged("tensors.safetensors", tmp_path, steps=3) == []
