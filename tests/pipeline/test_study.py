"""A study runs what is new, once, and says what went wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from accord.config.study import load_study
from accord.errors import AccordError
from accord.pipeline import memory, study, study_report
from accord.pipeline.artifacts import Artifact
from accord.pipeline.execute import MODULES
from accord.pipeline.lock import locked


@pytest.fixture
def lab(home, study_recipe, monkeypatch):
    """A working folder with the toy recipe, an evaluate stage and a study of it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    # Toys measure nothing; test_study_real compares what real stages measured.
    monkeypatch.setattr(study_report, "report", lambda laid, console: (laid.out / "over").touch())
    return home


@pytest.fixture
def console():
    return Console(file=StringIO(), width=200)


@pytest.fixture
def go(lab, console):
    """Run the study with these variants and seeds; gives its folder."""

    def run(variants: dict, seeds: list[int], workers: int = 2, **more) -> Path:
        whole = {"name": "lab", "recipe": "recipe.yaml", "seeds": seeds, "variants": variants}
        (lab / "study.yaml").write_text(yaml.safe_dump({**whole, **more}, sort_keys=False))
        modules = dict.fromkeys(MODULES, "study_toy")
        setting = study.StudySetting(workers, None, lab, console, modules, "accord study S")
        return study.run(load_study(lab / "study.yaml"), None, setting)

    return run


def counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(sorted(names))}


PLAIN = {"plain": {}}
BETA = {**PLAIN, "beta": {"dpo.beta": 0.3}}


def test_shared_stages_run_once_and_only_what_is_new_runs_later(go, lab, calls):
    out = go(BETA, [1])
    assert counts(calls()) == {"dpo": 2, "report": 2, "sft": 1, "tokenizer": 1}
    go(BETA, [1])
    assert calls() == []
    go({**BETA, "slow": {"sft.lr": 1e-5}}, [1])
    assert counts(calls()) == {"dpo": 1, "report": 1, "sft": 1}
    go(BETA, [1, 2])
    assert counts(calls()) == {"dpo": 2, "report": 2, "sft": 1, "tokenizer": 1}
    cells = json.loads((out / "study.json").read_text())["cells"]
    assert [(cell["variant"], cell["seed"]) for cell in cells] == [
        ("plain", 1), ("beta", 1), ("plain", 2), ("beta", 2),
    ]  # fmt: skip
    for cell in cells:
        records = {name: Artifact(out / at).finished for name, at in cell["stages"].items()}
        assert {record["seed"] for record in records.values()} == {cell["seed"]}
        assert records["dpo"]["config"]["beta"] == (0.3 if cell["variant"] == "beta" else 0.1)
        assert cell["evaluation"] == cell["stages"]["report"]
    assert cells[1]["settings"] == ["dpo.beta=0.3"]


def test_a_failed_stage_leaves_out_what_needs_it_and_the_rest_ends(go, lab, calls, monkeypatch):
    monkeypatch.setenv("STUDY_FAILS", "dpo=2")
    with pytest.raises(AccordError) as caught:
        go(PLAIN, [1, 2])
    assert counts(calls()) == {"dpo": 1, "report": 1, "sft": 2, "tokenizer": 2}
    text = str(caught.value)
    assert not (lab / "runs/lab/over").exists()
    assert "1 of the study's stages failed, 6 ended well, 1 were left out" in text
    assert "(for plain/2): the toy broke" in text
    assert "fix:   mend the toy" in text
    assert "go on with: accord study S" in text
    monkeypatch.delenv("STUDY_FAILS")
    assert (go(PLAIN, [1, 2]) / "over").exists()
    assert counts(calls()) == {"dpo": 1, "report": 1}


def test_a_crash_is_told_with_its_log(go, lab, monkeypatch):
    monkeypatch.setenv("STUDY_CRASHES", "tokenizer")
    with pytest.raises(AccordError, match="ZeroDivisionError: no toy") as caught:
        go(PLAIN, [1])
    line = next(line for line in str(caught.value).splitlines() if "log:" in line)
    assert "Traceback" in (lab / line.split()[-1]).read_text()


def waited_for(found, seconds: float = 30) -> list[Path]:
    """What a search finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if paths := list(found()):
            return paths
        time.sleep(0.02)
    raise AssertionError("nothing came")


# A suite started in the background hands SIGINT on as ignored, which Python leaves so.
CODE = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from accord.cli import main
from accord.pipeline import execute, study
study.MODULES = dict.fromkeys(execute.MODULES, "study_toy")
sys.argv = ["accord", "study", "study.yaml", "--workers", "2"]
main.main()
"""


@pytest.fixture
def halfway(lab):
    """`accord study`, its sft stage written half."""
    study_file = {"name": "lab", "recipe": "recipe.yaml", "seeds": [1], "variants": PLAIN}
    (lab / "study.yaml").write_text(yaml.safe_dump(study_file))
    (lab / "wait-sft").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=lab, stderr=subprocess.PIPE, text=True
    )
    step = waited_for(lambda: lab.glob("runs/lab/stages/sft-*/accord/checkpoints/step.json"))[0]
    yield process, int((step.parents[1] / "lock").read_text())
    process.kill()
    process.communicate()


def resumed(lab) -> str:
    return json.loads(next(lab.glob("runs/lab/stages/sft-*/accord/resumed.json")).read_text())


def test_a_killed_worker_is_resumed_from_its_checkpoint(halfway, lab, go, calls):
    process, worker = halfway
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "its process was killed (signal 9)" in err
    assert "2 were left out" in err
    calls()
    go(PLAIN, [1])
    assert calls() == ["sft", "dpo", "report"]
    assert resumed(lab) == '"half way"'


def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(halfway, lab, go, calls):
    process, worker = halfway
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "3 stages of runs/lab are still to run" in err
    assert "resume: accord study study.yaml --workers 2" in err
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    go(PLAIN, [1])
    assert resumed(lab) == '"half way"'


def test_workers_end_with_a_study_that_was_killed(halfway, lab, go):
    process, worker = halfway
    with pytest.raises(AccordError, match="another run is writing into this folder"):
        go(PLAIN, [1])
    process.kill()
    process.wait()
    waited_for(lambda: [] if Path(f"/proc/{worker}").exists() else [lab])
    go(PLAIN, [1])
    assert resumed(lab) == '"half way"'


def events(console: Console) -> list[str]:
    """Starts and ends in their order, such as `dpo started`, `dpo ended`."""
    rows = [line.split() for line in console.file.getvalue().splitlines()[1:]]
    return [
        f"{row[1].rpartition('-')[0]} {'started' if row[2] == 'started' else 'ended'}"
        for row in rows
    ]


def test_memory_that_holds_one_unknown_stage_holds_two_known_to_be_small(go, console, monkeypatch):
    monkeypatch.setattr(memory, "budget", lambda: memory.DEFAULT_NEED + 1)
    go({**BETA, "gamma": {"dpo.beta": 0.5}}, [1], workers=3)
    names = ["tokenizer", "sft", "dpo", "report"]
    found = events(console)
    alone = [f"{name} {event}" for name in names for event in ("started", "ended")]
    assert found[: len(alone)] == alone
    assert found[len(alone) : len(alone) + 2] == ["dpo started", "dpo started"]


def test_a_stage_that_held_much_before_runs_alone(go, lab, console, monkeypatch):
    monkeypatch.setattr(memory, "budget", lambda: memory.DEFAULT_NEED)
    monkeypatch.setattr(memory, "needs", lambda stages, logs: {"dpo": 99 * memory.GIB})
    go(BETA, [1], workers=3)
    found = events(console)
    for place in (place for place, event in enumerate(found) if event == "dpo started"):
        assert found[place + 1] == "dpo ended"


def test_one_run_of_a_study_at_a_time(go, lab):
    with locked(lab / "runs" / "lab" / ".lock"), pytest.raises(AccordError, match="another run"):
        go(PLAIN, [1])


def test_data_that_changes_while_it_runs_is_noticed(go, lab, monkeypatch):
    plan = study.plan

    def changed(*given):
        laid = plan(*given)
        (lab / "b.jsonl").write_text('{"text": "later"}\n')
        return laid

    monkeypatch.setattr(study, "plan", changed)
    with pytest.raises(AccordError, match="changed while the study ran"):
        go(PLAIN, [1])
