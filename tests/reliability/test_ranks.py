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

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "tiny.yaml"
STAGES = ("base", "sft", "dpo")
STEPS = [f"{stage}.steps={count}" for stage, count in zip(STAGES, (4, 2, 2), strict=True)]
# a large eps: where a gradient vanishes, Adam would divide its rounding by itself
TAME = [f"{stage}.eps=1.0e-3" for stage in STAGES]
BETA = 0.1  # the recipe's
COMPARED = ("loss", "grad_norm", "entropy", "num_tokens", "mean_token_accuracy")

pytestmark = pytest.mark.slow


def log(home: Path, run: str, stage: str) -> list[dict[str, Any]]:
    path = home / "runs" / run / stage / "accord" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def resolution(line: dict[str, Any]) -> float:
    """What float32 leaves undecided of β times a margin: four sums of many nats, an ulp each."""
    if "logps/chosen" not in line:
        return 0.0
    most = max(abs(line["logps/chosen"]), abs(line["logps/rejected"]))
    return 4 * BETA * float(np.spacing(np.float32(most)))


def test_two_ranks_train_as_one(tiny_data: Path, tmp_path: Path, accord: Any) -> None:
    shutil.copytree(tiny_data, tmp_path / "tiny-data")
    run = ("run", RECIPE, *STEPS, *TAME, "--stage", "dpo")
    accord(*run, "--out", "runs/one", cwd=tmp_path)
    accord(*run, "--out", "runs/two", "--ranks", "2", cwd=tmp_path)
    for stage in STAGES:
        lines = zip(log(tmp_path, "one", stage), log(tmp_path, "two", stage), strict=True)
        for one, two in lines:
            for name in COMPARED:
                near = pytest.approx(one[name], rel=1e-6, abs=resolution(one))
                assert two[name] == near, (stage, one["step"], name)
            assert set(two) == set(one)
        folders = [tmp_path / "runs" / run / stage for run in ("one", "two")]
        files, others = ({path.name for path in folder.iterdir()} for folder in folders)
        assert others == files
        load_model(folders[1])
        whole, shared = (load_file(folder / "model.safetensors") for folder in folders)
        for name, weight in whole.items():
            assert torch.isfinite(shared[name]).all()
            assert (shared[name] - weight).norm() <= 1e-6 * weight.norm(), (stage, name)
