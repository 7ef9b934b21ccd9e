"""The battery's hostile templates through `apply_chat_template`."""

import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from battery.peers import world
from battery.peers.interrupted import PATIENCE
from battery.peers.lives import Ended, lived
from battery.row import Outcome, Size
from battery.templates import CANARY, HOSTILE, MEMORY, SECONDS

PROCESSOR = 3
"""Seconds of CPU time after which a template is killed."""
ADDRESSES = 4 << 30
"""Bytes that a template may ask for before the system says no: others work here too."""
LEAKED = ("<class", "root:", "globals")
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]


def render(model: Path, folder: Path, template: str) -> None:
    """A short conversation through a template; what comes of it, seconds of CPU and bytes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    os.chdir(folder)
    before, began = _status("VmRSS"), time.process_time()
    most = _status("VmSize") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    limit = int(began) + PROCESSOR
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    leaked = False
    try:
        said = tokenizer.apply_chat_template(TALK, chat_template=template, tokenize=False)
        leaked = any(word in said for word in LEAKED)
        end = f"rendered: {said[:60]!r}"
    except MemoryError:
        # the limit is ours: without it the machine's memory would have been taken
        end = "out of memory"
    except Exception as error:
        end = f"refused: {type(error).__name__}: {str(error)[:120]}"
    spent = {"seconds": time.process_time() - began, "bytes": _status("VmHWM") - before}
    print(json.dumps({"end": end, "leaked": leaked} | spent), flush=True)


def _status(what: str) -> int:
    """A line of the process's own account of its memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def _spent(ended: Ended) -> dict[str, Any]:
    if ended.code == 0:
        return json.loads(ended.last_line)
    killed = ended.code in (-signal.SIGXCPU, -signal.SIGKILL)
    end = f"killed after {PROCESSOR} s" if killed else f"ended by {ended.code}"
    return {"end": end, "leaked": False, "seconds": PROCESSOR, "bytes": ended.peak_bytes}


def templates(folder: Path, size: Size) -> Outcome:
    """Each template once: refused, rendered, out of memory, or killed after 3 s of CPU."""
    home = world.made(folder / "world")
    told = {
        name: _spent(lived(folder / "log", PATIENCE, render, home.model, folder, template))
        for name, template in HOSTILE.items()
    }
    ends = {name: each["end"].partition(":")[0] for name, each in told.items()}
    in_time = [
        name
        for name, each in told.items()
        if ends[name] == "refused" and each["seconds"] <= SECONDS and each["bytes"] <= MEMORY
    ]
    counts = {kind: sum(end.startswith(kind) for end in ends.values()) for kind in KINDS}
    leaks = [name for name, each in told.items() if each["leaked"]]
    ran = (folder / CANARY).exists()
    figure = (
        f"{len(in_time)} of {len(told)} refused within 1 s and 256 MB; "
        f"{counts['killed']} still running after {PROCESSOR} s of CPU, {counts['out of memory']} "
        f"ask for more than 4 GB, {counts['rendered']} rendered, {counts['ended']} crash; "
        f"ways out of the sandbox: {len(leaks) + ran}"
    )
    return Outcome(len(in_time) == len(told), figure, {"leaks": leaks, "told": told})


KINDS = ("refused", "rendered", "out of memory", "killed", "ended")
"""How the ends begin."""
