"""Toy stages: they write what their settings and inputs say, and count their calls."""

import json
import os

from accord.errors import AccordError
from accord.stages.context import StageContext


def run(config, context: StageContext) -> None:
    calls = context.base / "calls.txt"
    with calls.open("a") as file:
        file.write(f"{context.name}\n")
    parents = [(context.input(n) / "config.json").read_text() for n in config.inputs()]
    text = json.dumps({"kind": config.kind, "seed": context.seed, "parents": parents})
    (context.folder / "accord" / "checkpoints").mkdir(exist_ok=True)
    checkpoint = context.folder / "accord" / "checkpoints" / "step.json"
    resumed = checkpoint.read_text() if checkpoint.exists() else "fresh"
    (context.folder / "accord" / "resumed.json").write_text(json.dumps(resumed))
    checkpoint.write_text(text)
    if os.environ.get("TOY_FAILS") == context.name:
        raise AccordError("the toy broke")
    (context.folder / "config.json").write_text(text)
    (context.folder / "model.safetensors").write_text(text)
