"""One stage of a study in a process of its own: `python -m accord.pipeline.worker`.

The job comes as one line of JSON on standard input, which stays open as long as the study lives;
how it ended goes to the job's `outcome` file, all else to standard output.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console

from accord.config.stages import StageConfig
from accord.errors import AccordError
from accord.peak import peak_resident_bytes
from accord.pipeline.artifacts import Artifact
from accord.pipeline.execute import Setting, Task, execute
from accord.pipeline.files import write_json
from accord.pipeline.lock import locked

FAILED, MISTAKE, STOPPED = 1, 2, 75


def told(task: Task, setting: Setting, mark: str, outcome: Path) -> str:
    """A stage as the line of JSON that a worker reads.

    Args:
        task: The stage.
        setting: Its seed, base and modules.
        mark: The fingerprint that it is planned to have.
        outcome: Where the worker writes how it ended.
    """
    config = task.config.model_dump(mode="json", by_alias=True)
    stages = {name: str(folder.resolve()) for name, folder in task.stages.items()}
    whole = {"name": task.name, "config": config, "folder": str(task.folder.resolve())}
    whole |= {"stages": stages, "seed": setting.seed, "base": str(setting.base.resolve())}
    whole |= {"modules": dict(setting.modules), "mark": mark, "outcome": str(outcome.resolve())}
    return json.dumps(whole)


def work(given: Mapping[str, Any]) -> int:
    """Run a job's stage and write how it ended; gives the exit code."""
    text = json.dumps(given["config"])
    config = TypeAdapter(StageConfig).validate_json(text, strict=True)
    folder = Path(given["folder"])
    stages = {name: Path(path) for name, path in given["stages"].items()}
    console = Console(file=sys.stdout, width=100)
    setting = Setting(given["seed"], Path(given["base"]), console, modules=given["modules"])
    outcome: dict[str, Any] = {}
    code = FAILED
    try:
        # A worker whose study was killed may still be saving: two never write into one folder.
        with locked(folder / "accord" / "lock"):
            execute(Task(given["name"], config, folder, stages), setting)
            _refuse_other(folder, given["mark"])
        code = 0
    except AccordError as error:
        code = MISTAKE
        outcome = {"what": error.what, "where": error.where, "fix": error.fix}
    except Exception as error:
        if _interrupted(error):
            code = STOPPED
        else:
            traceback.print_exc(file=sys.stdout)
            outcome = {"what": f"{type(error).__name__}: {error}"}
    write_json(
        Path(given["outcome"]),
        {**outcome, "code": code, "peak_memory_bytes": peak_resident_bytes()},
    )
    return code


def _refuse_other(folder: Path, mark: str) -> None:
    """The folder's name and the study's plan promise one fingerprint."""
    if Artifact(folder).finished["fingerprint"] != mark:
        what = "its data or the model it starts from changed while the study ran"
        raise AccordError(what, str(folder), "run the study again: it is planned anew")


def _interrupted(error: Exception) -> bool:
    """Whether the training loop stopped on request; without importing the loop to ask."""
    module = sys.modules.get("accord.train.interrupt")
    return module is not None and isinstance(error, module.Interrupted)


def _stop(number: int, frame: FrameType | None) -> None:
    """Outside the training loop, which answers SIGTERM itself, nothing is half-written."""
    raise SystemExit(STOPPED)


def _stop_with_the_study() -> None:
    """End as on SIGTERM when the study's process is gone: its end of the pipe closes with it."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Read the job and do it."""
    signal.signal(signal.SIGTERM, _stop)
    given = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_with_the_study, daemon=True).start()
    return work(given)


if __name__ == "__main__":
    sys.exit(main())
