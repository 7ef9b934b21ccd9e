"""TRL killed, stopped and resumed: what a restart finds, and where it ends."""

import random
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from battery.peers import training, world
from battery.peers.lives import Ended, Life, lived
from battery.peers.training import Run
from battery.row import Outcome, Size

STEPS, PATIENCE = 10, 300.0


def whole(run: Run, log: Path) -> Ended:
    """A run that nothing disturbs, to compare with."""
    ended = lived(log, PATIENCE, training.train, run)
    if ended.code:
        raise RuntimeError(f"the undisturbed run failed: {ended.last_line}")
    return ended


def checkpoints(out: Path) -> list[Path]:
    found = out.glob("checkpoint-*")
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def kills(folder: Path, size: Size) -> Outcome:
    """kill -9 at random instants, a quarter of them inside a save; a user's restart each time."""
    home = world.made(folder / "world")
    run = Run(home.model, home.pairs, folder / "whole", "dpo", settings={"max_steps": STEPS})
    seconds = whole(run, folder / "whole.log").seconds
    wanted = training.digests(run.out, run.out / f"checkpoint-{STEPS}")
    tally = _kill_and_restart(folder, home, size, seconds)
    ends = tally.pop("ends")
    same = sum(end == wanted for end in ends)
    figure = (
        f"{tally['kills']} kills ({tally['in a save']} in a save): {tally['crashed']} restarts "
        f"crashed until a folder was deleted by hand; {same} of {len(ends)} finished runs "
        "end in the weights and the state of an undisturbed one"
    )
    return Outcome(tally["crashed"] == 0 and same == len(ends), figure, tally)


def _kill_and_restart(folder: Path, home: world.World, size: Size, seconds: float) -> dict:
    draw = random.Random(size.seed)
    out, log = folder / "killed", folder / "killed.log"
    run = Run(home.model, home.pairs, out, "dpo", "last", settings={"max_steps": STEPS})
    tally: dict = {"kills": 0, "in a save": 0, "crashed": 0, "messages": Counter(), "ends": []}
    while tally["kills"] < size.kills or not tally["ends"]:
        if tally["kills"] == size.kills:
            ended = lived(log, PATIENCE, training.train, run)
        elif (in_save := draw.random() < 0.25) and (save := draw.randint(2, 4)):
            ended = lived(log, PATIENCE, training.train_and_die_in_a_save, run, save, draw.random())
        else:
            ended = lived(log, draw.uniform(0.3, 1.0) * seconds, training.train, run)
        if ended.code == -signal.SIGKILL:
            tally["kills"] += 1
            tally["in a save"] += in_save
        elif ended.code == 0:
            tally["ends"].append(training.digests(out, out / f"checkpoint-{STEPS}"))
            shutil.rmtree(out)
        else:
            # the manual repair: the newest folder is deleted, the one before it is whole
            tally["crashed"] += 1
            tally["messages"][without_paths(ended.last_line)] += 1
            shutil.rmtree(checkpoints(out)[-1])
    tally["messages"] = dict(tally["messages"])
    return tally


def without_paths(line: str) -> str:
    """A message that is the same wherever the battery ran."""
    return re.sub(r"(/[\w.+-]+)+/", "…/", line)[:300]


def resume(folder: Path, size: Size) -> Outcome:
    """Resumed from each checkpoint, in the middle of an epoch, at its edge, with accumulation."""
    home = world.made(folder / "world", rows=16)
    settings = {"max_steps": 5, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    last, different, tried = "checkpoint-5", [], 0
    for method, data in (("sft", home.sft), ("dpo", home.pairs)):
        run = Run(home.model, data, folder / method, method, settings=settings)
        whole(run, folder / "whole.log")
        wanted = training.digests(run.out, run.out / last)
        for step in range(1, 5):
            out = folder / f"{method}-{step}"
            shutil.copytree(run.out / f"checkpoint-{step}", out / f"checkpoint-{step}")
            again = Run(home.model, data, out, method, "last", settings=settings)
            ended = lived(folder / "again.log", PATIENCE, training.train, again)
            tried += 1
            if ended.code or training.digests(out, out / last) != wanted:
                different.append(f"{method} at step {step}: {ended.code}")
    figure = f"{tried - len(different)} of {tried} resumed runs bit-identical (SFT and DPO)"
    return Outcome(not different, figure, {"different": different})


def signals(folder: Path, size: Size) -> Outcome:
    """SIGTERM and Ctrl-C by default, and SIGTERM with `enable_jit_checkpoint`."""
    home = world.made(folder / "world")
    cases = {
        "SIGTERM": (signal.SIGTERM, {}),
        "Ctrl-C": (signal.SIGINT, {}),
        "SIGTERM with enable_jit_checkpoint": (signal.SIGTERM, {"enable_jit_checkpoint": True}),
    }
    told = {
        name: _stopped(folder / f"case{n}", home, kind, extra)
        for n, (name, (kind, extra)) in enumerate(cases.items())
    }
    figure = "; ".join(f"{name}: {what}" for name, what in told.items())
    good = all(each == "checkpoint, exit 75, says how to resume" for each in told.values())
    return Outcome(good, figure, {})


def _stopped(folder: Path, home: world.World, kind: signal.Signals, extra: dict) -> str:
    settings = {"max_steps": 100_000, "save_strategy": "no"} | extra
    life = Life(
        folder / "log",
        training.train,
        Run(home.model, home.sft, folder / "out", settings=settings),
    )
    until = time.monotonic() + PATIENCE
    while "'loss'" not in life.said() and life.alive and time.monotonic() < until:
        time.sleep(0.1)
    life.stop(kind)
    ended = life.ended(60)
    saved = "checkpoint" if checkpoints(folder / "out") else "no checkpoint"
    after = ended.said[ended.said.find("'loss'") :].lower().splitlines()
    # what a traceback quotes of the source is indented
    told = any("resum" in line and not line.startswith(" ") for line in after)
    how = "says how to resume" if told else "no line how to resume"
    return f"{saved}, exit {ended.code}, {how}"
