"""A study of real stages: killed, resumed, and in the end the very weights of `accord run`."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STEPS = 60  # enough of them to be killed among
SETTINGS = ("dpo.beta=1.0", "seed=2")


def small_recipe() -> dict:
    """examples/tiny.yaml up to DPO, one or two steps a stage but the base's."""
    recipe = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    stages = {
        name: recipe["stages"][name] for name in ("tokenizer", "base", "sft", "dpo", "report")
    }
    stages["base"] |= {"steps": STEPS, "save_every": 5, "eval_every": STEPS}
    stages["sft"] |= {"steps": 2}
    stages["dpo"] |= {"steps": 2}
    report = stages["report"] | {"policies": ["sft", "dpo"], "bootstrap": 20, "shown": 2}
    report["prompts"] |= {"count": 4}
    report["sampling"] = {"max_new_tokens": 4}
    stages["report"] = {k: v for k, v in report.items() if k not in ("rewards", "copies_from")}
    return {"name": "small", "stages": stages}


@pytest.fixture
def home(tmp_path, tiny_data) -> Path:
    (tmp_path / "tiny-data").symlink_to(tiny_data)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_recipe(), sort_keys=False))
    variants = {"plain": {}, "held": {"dpo.beta": 1.0}}
    study = {"name": "lab", "recipe": "small.yaml", "seeds": [2], "variants": variants}
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({**study, "resamples": 50}, sort_keys=False)
    )
    return tmp_path


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def kill_the_base_when_it_has_saved(home: Path) -> str:
    """Run the study, kill the worker of the base at its first checkpoint; gives stderr."""
    command = [sys.executable, "-m", "accord", "study", "study.yaml"]
    with subprocess.Popen(
        command, cwd=home, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            saved = list(home.glob("runs/lab/stages/base-*/accord/checkpoints/*/manifest.json"))
            if saved:
                records = saved[0].parents[2]
                os.kill(int((records / "lock").read_text()), signal.SIGKILL)
                break
            time.sleep(0.005)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    return err


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_killed_study_ends_in_the_bytes_of_plain_runs(home, accord):
    err = kill_the_base_when_it_has_saved(home)
    assert "its process was killed (signal 9)" in err
    assert "go on with: accord study study.yaml" in err
    base = next(home.glob("runs/lab/stages/base-*"))
    assert not (base / "accord" / "stage.json").exists()
    said = accord("study", "study.yaml", cwd=home).stdout
    assert "6 stages to run, 1 stand" in said
    assert "nothing to run" in accord("study", "study.yaml", "--plan", cwd=home).stdout

    accord("run", "small.yaml", *SETTINGS, cwd=home)
    cells = json.loads((home / "runs/lab/study.json").read_text())["cells"]
    held = next(cell for cell in cells if cell["variant"] == "held")
    for name in ("base", "sft", "dpo"):
        at = home / "runs/lab" / held["stages"][name]
        assert weights(at) == weights(home / "runs/small" / name)
    plain = next(cell for cell in cells if cell["variant"] == "plain")
    assert weights(home / "runs/lab" / plain["stages"]["dpo"]) != weights(home / "runs/small/dpo")

    # What was compared is what the evaluations measured.
    report = json.loads((home / "runs/lab/study_report.json").read_text())
    assert report["variants"] == ["plain", "held"]
    measured = json.loads((home / "runs/small/report/accord/evaluation.json").read_text())
    mean = report["averages"]["held"]["dpo"]["length"]["mean"]
    assert mean == pytest.approx(measured["policies"]["dpo"]["scores"]["length"]["mean"])
    between = [claim for claim in report["claims"] if claim["family"] == "variants"]
    assert between
    assert all(claim["sentence"] in said for claim in between)
    assert "comparisons not distinguishable" in said
    assert report["study"]["cells"] == cells
