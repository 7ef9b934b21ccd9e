"""`accord run` killed at any instant and run again ends in the bytes of a run that was not."""

import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from battery.row import Outcome, Row, Size

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "tiny.yaml"
DIES_IN_FSYNC = Path(__file__).parent / "dies_in_fsync.py"
RUN = Path("runs") / "tiny"
STEPS = {"base": 40, "sft": 20, "dpo": 20, "reward": 20, "ppo": 8, "grpo": 8, "online": 8}
FSYNCS = 160  # of the whole run several hundred: ten checkpoints and a model folder a stage
LATE = [f"{stage}.async_save=true" for stage in ("sft", "reward", "grpo")]
"""What may be saved in the background, which changes no result."""
MIXED = [
    *(f"{stage}.precision=bf16" for stage in STEPS),
    *(f"{stage}.optimizer=muon" for stage in ("base", "sft")),
]


@dataclass
class Lives:
    """What came of the lives of one run.

    Args:
        killed: In which stage each life ended that was killed, and `in a save` beside.
        whole: Times that the run came to its end.
        faults: What was not as it must be.
    """

    killed: Counter[str] = field(default_factory=Counter)
    whole: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Lives that were killed."""
        return sum(count for place, count in self.killed.items() if place != "in a save")


def data(home: Path) -> Path:
    """A folder with the small corpus, to run in."""
    maker = ROOT / "examples" / "make_tiny_data.py"
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, maker], cwd=home, check=True, capture_output=True)
    return home


def start(home: Path, *words: str, fsyncs: int | None = None) -> subprocess.Popen[str]:
    """`accord run` as a process; with `fsyncs` it is killed in that call of fsync."""
    # -P: the battery's modules beside the script are not to take the names of Python's own
    dying = ["-P", str(DIES_IN_FSYNC), str(fsyncs)]
    program = ["-m", "accord"] if fsyncs is None else dying
    return launched(home, [*program, "run", str(RECIPE), *words])


def launched(home: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    """Python with these words, calm about threads."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(home: Path, *words: str) -> float:
    """Run to the end; gives the seconds it worked, its start left out."""
    process = start(home, *words)
    began = holding(home, process)
    out, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(out + errors)
    return time.monotonic() - began


def holding(home: Path, process: subprocess.Popen[str]) -> float:
    """Wait until a run has its folder to itself; gives when that was."""
    lock = home / RUN / ".lock"
    while process.poll() is None and not _says(lock, f"{process.pid}\n"):
        time.sleep(0.005)
    return time.monotonic()


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def life(home: Path, draw: random.Random, words: Sequence[str], seconds: float) -> Counter[str]:
    """One life of a run that may end anywhere; where it was killed, or nothing if it was not."""
    saving = draw.random() < 0.25
    process = start(home, *words, fsyncs=draw.randint(1, FSYNCS) if saving else None)
    if not saving:
        holding(home, process)
        try:
            process.wait(draw.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
    out, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"exit code {process.returncode}: {out}{errors}")
    if process.returncode == 0:
        return Counter()
    return Counter([_stage(home)] + ["in a save"] * saving)


def _stage(home: Path) -> str:
    """The stage that a run is in: the first without a record of its end."""
    order = ("tokenizer", *STEPS, "report")
    unfinished = (n for n in order if not (home / RUN / n / "accord" / "stage.json").exists())
    return next(unfinished, "report")


def results(home: Path) -> dict[str, str]:
    """SHA-256 of every trained model and of the last checkpoint: weights, optimiser, cursor."""
    files = {}
    for name in STEPS:
        folder = home / RUN / name
        trained = sorted(folder.glob("**/model.safetensors"))  # with a critic, two
        # a finished run keeps one checkpoint: that of its last step
        for file in (*trained, *sorted(folder.glob("accord/checkpoints/*/*"))):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            files[str(file.relative_to(home))] = digest
    if len(files) != 4 * len(STEPS) + 1:
        raise RuntimeError(f"a run has left {len(files)} files")
    return files


def log(home: Path, stage: str) -> list[dict[str, Any]]:
    """The lines of a stage's log."""
    path = home / RUN / stage / "accord" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(home: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and loss of every line of every stage."""
    return {name: [(line["step"], line["loss"]) for line in log(home, name)] for name in STEPS}


def differences(home: Path, whole: Path) -> Iterator[str]:
    """What two finished runs do not have in common, by name."""
    mine, theirs = results(home), results(whole)
    yield from (name for name in theirs if mine.get(name) != theirs[name])
    one, two = losses(home), losses(whole)
    yield from (f"the log of {name}" for name in STEPS if one[name] != two[name])


def kill_and_finish(
    home: Path, whole: Path, words: Sequence[str], kills: int, seed: int, seconds: float
) -> Lives:
    """Lives of a run until `kills` of them were killed, then one to its end.

    A run that comes to its end before is compared with `whole` too, and begins anew: it uses up no
    kill. `seconds` is about what a whole run takes.
    """
    draw, lives = random.Random(seed), Lives()
    while lives.kills < kills:
        where = life(home, draw, words, seconds)
        lives.killed += where
        if not where:
            _compare(home, whole, lives)
            shutil.rmtree(home / "runs")
    finish(home, *words)
    _compare(home, whole, lives)
    return lives


def _compare(home: Path, whole: Path, lives: Lives) -> None:
    lives.whole += 1
    lives.faults += [f"{name} after {lives.kills} kills" for name in differences(home, whole)]


def row(folder: Path, size: Size) -> Outcome:
    """Half of the kills in float32, half in bfloat16 with Muon, beside each other."""
    kinds = {"fp32": ([], size.kills - size.kills // 2), "bf16, muon": (MIXED, size.kills // 2)}

    def killed(kind: str) -> Lives:
        words, kills = kinds[kind]
        whole, home = (data(folder / kind / name) for name in ("whole", "killed"))
        seconds = finish(whole, *words)
        return kill_and_finish(home, whole, [*words, *LATE], kills, size.seed, seconds)

    with ThreadPoolExecutor(len(kinds)) as pool:
        lives = dict(zip(kinds, pool.map(killed, kinds), strict=True))
    kills = sum(each.kills for each in lives.values())
    saves = sum(each.killed["in a save"] for each in lives.values())
    whole = sum(each.whole for each in lives.values())
    faults = [f"{kind}: {fault}" for kind, each in lives.items() for fault in each.faults]
    files = 4 * len(STEPS) + 1
    return Outcome(
        kills == size.kills and not faults,
        f"{kills} kills, {saves} of them inside a save, 0 repairs; {files} hashes of each of "
        f"{whole} runs that came to their end, {len(faults)} unequal",
        {"kills": {kind: dict(each.killed) for kind, each in lives.items()}, "unequal": faults},
    )


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return when it has happened; a process that ends before has failed."""
    while not happened():
        if process.poll() is not None:
            raise RuntimeError("".join(process.communicate()))
        time.sleep(0.005)


@dataclass(frozen=True)
class Stop:
    """How a run answered a signal.

    Args:
        code: Its exit code.
        said: What it printed on stderr.
        logged: Steps of the stage's log.
        saved: Names of the stage's checkpoints.
    """

    code: int
    said: str
    logged: int
    saved: tuple[str, ...]

    def faults(self, lines: int) -> Iterator[str]:
        """What is not as it must be, where the signal came after `lines` steps of a stage."""
        if self.code != 75:
            yield f"exit code {self.code}"
        if len(self.resume) != 1:
            yield f"{len(self.resume)} lines tell how to resume"
        if f"stopped after step {self.logged};" not in self.said or self.logged < lines:
            yield f"stopped at another step than the log's {self.logged}"
        if f"step-{self.logged}" not in self.saved:
            yield f"no checkpoint of step {self.logged}"

    @property
    def resume(self) -> list[str]:
        """The lines that say how to resume."""
        found = (line.strip() for line in self.said.splitlines())
        return [line.removeprefix("resume: ") for line in found if line.startswith("resume: ")]


def stopped(home: Path, process: subprocess.Popen[str], stage: str, number: int, at: int) -> Stop:
    """Send a signal when a stage's log has `at` lines; gives how the run ends."""
    folder = home / RUN / stage / "accord"
    wait_until(lambda: (folder / "metrics.jsonl").exists() and len(log(home, stage)) >= at, process)
    process.send_signal(number)
    _, said = process.communicate()
    saved = tuple(path.name for path in (folder / "checkpoints").iterdir())
    return Stop(process.returncode, said, len(log(home, stage)), saved)


def signals(folder: Path, size: Size) -> Outcome:
    """A run that is asked to stop in each of its stages, by SIGTERM and by Ctrl-C in turn."""
    whole, home = (data(folder / name) for name in ("whole", "stopped"))
    longer = [f"{stage}.steps=40" for stage in STEPS]  # so that no stage ends before its signal
    finish(whole, *longer)
    faults: list[str] = []
    process = start(home, *longer, *LATE)
    for index, stage in enumerate(STEPS):
        number = (signal.SIGTERM, signal.SIGINT)[index % 2]
        stop = stopped(home, process, stage, number, 2)
        faults += [f"{stage}, {number.name}: {fault}" for fault in stop.faults(2)]
        if not stop.resume:
            break
        process = launched(home, ["-m", *shlex.split(stop.resume[0])])
    _, said = process.communicate()
    if process.returncode != 0:
        faults.append(f"the last line to resume ended with {process.returncode}: {said}")
    else:
        faults += [f"{name} is unequal" for name in differences(home, whole)]
    return Outcome(
        not faults,
        f"{len(STEPS)} stages stopped by SIGTERM or Ctrl-C: exit code 75, a checkpoint of the last "
        f"step, a line that resumes; {len(faults)} faults",
        {"faults": faults},
    )


KILLS = Row(
    "kills",
    "kill -9 at random instants over every trained stage, a quarter of them inside a save",
    "no repair; weights, optimiser state and data cursor have the SHA-256 of a whole run",
    row,
)
SIGNALS = Row(
    "signals",
    "SIGTERM and Ctrl-C in every trained stage",
    "a checkpoint, exit code 75, one line that resumes",
    signals,
)
