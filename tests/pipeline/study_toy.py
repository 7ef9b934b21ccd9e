"""Toy stages that run in a study's workers: they crash, fail or wait as told."""

import os
import time

import toy

from accord.errors import AccordError
from accord.stages.context import StageContext


def run(config, context: StageContext) -> None:
    wait = context.base / f"wait-{context.name}"
    checkpoint = context.folder / "accord" / "checkpoints" / "step.json"
    if wait.exists() and not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text('"half way"')
        time.sleep(60)
    fails = os.environ.get("STUDY_FAILS", "").split("=")
    if fails[0] == context.name and fails[1:] in ([], [str(context.seed)]):
        raise AccordError("the toy broke", f"stages.{context.name}", "mend the toy")
    if os.environ.get("STUDY_CRASHES") == context.name:
        raise ZeroDivisionError("no toy")
    toy.run(config, context)
