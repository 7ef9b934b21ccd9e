"""Two ranks (gloo) train what one trains: the same losses, a folder that loads the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from accord.checkpoint.folder import load_model
from accord.checkpoint.scorer_folder import load_scorer
from battery import ranks as moving
from battery import resume

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "tiny.yaml"
LENGTHS = {"base": 4, "sft": 2, "dpo": 2, "reward": 2, "ppo": 3, "grpo": 3, "online": 3}
STAGES = tuple(LENGTHS)
STEPS = [f"{stage}.steps={count}" for stage, count in LENGTHS.items()]
# a large eps: where a gradient vanishes, Adam would divide its rounding by itself
TAME = [f"{stage}.eps=1.0e-3" for stage in STAGES]
BETA = 0.1  # the recipe's
SIDES = ("chosen", "rejected")
COMPARED = ("loss", "grad_norm", "entropy", "num_tokens", "mean_token_accuracy")
OF_A_ROLLOUT = (
    *("reward", "reward_std", "unique", "objective/kl", "objective/entropy", "objective/scores"),
    *("completions/mean_length", "critic/vf_explained_var", "judges/regex/mean"),
)

pytestmark = pytest.mark.slow


def log(home: Path, run: str, stage: str) -> list[dict[str, Any]]:
    path = home / "runs" / run / stage / "accord" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def resolution(stage: str, line: dict[str, Any]) -> float:
    """What float32 leaves undecided: of β times a margin four sums of many nats, an ulp each.

    A policy's loss is a sum of advantages that cancel.
    """
    if stage in ("ppo", "grpo"):
        return 1e-6
    sides = [abs(line[f"logps/{side}"]) for side in SIDES if f"logps/{side}" in line]
    if not sides:
        return 0.0
    most = max(sides)
    return 4 * BETA * float(np.spacing(np.float32(most)))


@pytest.fixture(scope="module")
def home(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory, accord: Any) -> Path:
    """`runs/one` and `runs/two`: every stage of the small recipe on one rank and on two."""
    home = tmp_path_factory.mktemp("ranks")
    shutil.copytree(tiny_data, home / "tiny-data")
    for out, ranks in (("one", "1"), ("two", "2")):
        run = ("run", RECIPE, *STEPS, *TAME, "--out", f"runs/{out}", "--ranks", ranks)
        accord(*run, cwd=home)
    return home


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_train_as_one(stage: str, home: Path) -> None:
    for one, two in zip(log(home, "one", stage), log(home, "two", stage), strict=True):
        assert set(two) == set(one)
        for name in COMPARED:
            if name in one:
                near = pytest.approx(one[name], rel=1e-6, abs=resolution(stage, one))
                assert two[name] == near, (one["step"], name)
        for name in OF_A_ROLLOUT:
            if name in one:
                assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-5), name
    folders = [home / "runs" / run / stage for run in ("one", "two")]
    files, others = ({path.name for path in folder.iterdir()} for folder in folders)
    assert others == files
    (load_scorer if stage == "reward" else load_model)(folders[1])
    whole, shared = (load_file(folder / "model.safetensors") for folder in folders)
    for name, weight in whole.items():
        assert torch.isfinite(shared[name]).all()
        assert (shared[name] - weight).norm() <= 1e-6 * weight.norm(), name


@pytest.mark.parametrize("stage", ["ppo", "grpo", "online"])
def test_two_ranks_collect_what_one_collects(stage: str, home: Path) -> None:
    """The roll-out in the last checkpoint: the same tokens, the same advantages and returns."""
    place = Path("accord") / "checkpoints" / f"step-{LENGTHS[stage]}" / "tensors.safetensors"
    one, two = (load_file(home / "runs" / run / stage / place) for run in ("one", "two"))
    kept = [name for name in one if name.startswith("collector/")]
    assert kept and kept == [name for name in two if name.startswith("collector/")]
    for name in kept:
        if one[name].is_floating_point():
            assert torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-5), name
        else:
            assert torch.equal(one[name], two[name]), name


VARIANTS = {
    "kto": ["loss=kto"],
    "synced": ["sync_ref_model=true", "ref_model_sync_steps=2"],
    "by tokens": ["loss={sigmoid: 1, sft: 0.2}", "ld_alpha=0.5"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_share_what_a_preference_stage_may_need(
    variant: str, home: Path, accord: Any
) -> None:
    """KTO's KL, a moving reference, rows of unequal length within a budget of tokens."""
    chosen = ("steps=4", "batch_size=6", "max_length=128", "lr=1e-3", "eps=1e-3", "beta=0.1")
    budget = "micro_batch_tokens=300"
    data = ("--data", "tiny-data/preferences.jsonl", "--model", "runs/one/sft")
    for ranks in ("1", "2"):
        out = f"runs/{variant}-{ranks}/dpo"
        own = (*VARIANTS[variant], *chosen, *([budget] if ranks == "2" else []))
        accord("dpo", *data, "--out", out, "--ranks", ranks, *own, cwd=home)
    one, two = (log(home, f"{variant}-{ranks}", "dpo") for ranks in ("1", "2"))
    for whole, shared in zip(one, two, strict=True):
        for name in ("loss", "grad_norm", "entropy", "rewards/chosen", "kl", "eval_loss"):
            if name in whole:
                near = pytest.approx(whole[name], rel=1e-5, abs=2 * resolution("dpo", whole))
                assert shared[name] == near, (whole["step"], name)


def test_a_checkpoint_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    """One rank's as two, two ranks' as one: the same state to the bit, the same next losses."""
    world, folder = resume.world(tmp_path / "world"), tmp_path / "moved"
    tensors, largest, faults = moving.moved(world, "sft, muon", folder)
    assert tensors > 50 and not faults
    assert largest <= moving.TOLERANCE
