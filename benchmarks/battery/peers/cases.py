"""Which row of the battery each of the peer's cases answers to."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from battery.peers import (
    hostile,
    interrupted,
    malformed,
    numbers,
    serving,
    stored,
    templates,
    texts,
)
from battery.row import Outcome, Size

MOST = Size(kills=20, flips=40)
"""A peer's answers repeat themselves soon; a longer run adds hours and no other finding."""

PEERS: Mapping[str, Callable[[Path, Size], Outcome]] = {
    "kills": interrupted.kills,
    "resume": interrupted.resume,
    "signals": interrupted.signals,
    "disk-full": stored.disk,
    "damage": stored.damage,
    "retention": stored.retention,
    "non-finite": numbers.nonfinite,
    "invariance": numbers.accumulation,
    "malformed": malformed.data,
    "overlap": malformed.overlap,
    "hostile-files": hostile.files,
    "templates": templates.templates,
    "control-tokens": texts.controls,
    "tokenizer-bombs": texts.bombs,
    "http-fuzz": serving.fuzz,
    "http-limits": serving.limits,
    "auth": serving.auth,
}


def bounded(size: Size) -> Size:
    """The sizes of a run, `MOST` at most."""
    return replace(size, kills=min(size.kills, MOST.kills), flips=min(size.flips, MOST.flips))
