"""Thousands of files of arbitrary or damaged bytes: each gives what it holds, or one message.

The law for data: rows, all of them counted, or an `AccordError` that names the file and, where it
is text, the line. For recipes, settings and model folders: a value, or an `AccordError` with a
place. Nothing else is raised, and nothing goes on for more than `SECONDS`.
"""

import json
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

from battery import fuzz_data
from battery.damage import TOKENS, changed, damaged, drawn
from battery.row import Outcome, Row, Size

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
"""A case may take, on a machine however busy."""


class Hung(BaseException):
    """A case that went on for too long."""


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Interrupt what takes longer."""

    def stop(number: int, frame: object) -> None:
        raise Hung(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Case:
    """A case's name, from which alone it can be made again, and what it does."""

    name: str
    run: Callable[[], str]


def verdict(case: Case) -> str:
    """`accepted` or `refused`; or what broke the law, with where it broke."""
    try:
        with bounded(SECONDS), redirect_stderr(StringIO()):
            return case.run()
    except BaseException as error:  # a panic of a Rust library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error}"[:300]
        return f"{told} [{Path(frame.filename).name}:{frame.lineno}]"


def answered(read: Callable[[], Any]) -> str:
    """What reading came to; an `AccordError` has a place and can be printed.

    Raises:
        Exception: Anything else.
    """
    from accord.errors import AccordError

    try:
        read()
    except AccordError as error:
        str(error).encode(errors="backslashreplace")  # as stderr writes it
        # several mistakes are one message, each with its own place
        assert error.where or "where: " in error.what, f"a message without a place: {error.what}"
        return "refused"
    return "accepted"


def recipe(random: Random, folder: Path) -> str:
    """Random bytes, or damage to a recipe of the repository, read as a recipe."""
    from accord.config.load import load_recipe

    whole = random.choice(sorted((ROOT / "recipes").glob("*.yaml"))).read_bytes()
    data = drawn(random) if random.random() < 0.2 else damaged(whole, random)
    (folder / "recipe.yaml").write_bytes(data)
    return answered(lambda: load_recipe(folder / "recipe.yaml"))


def override(random: Random, folder: Path) -> str:
    """Damaged `key=value` settings laid over a recipe of the repository."""
    from accord.config.load import load_recipe

    path = ROOT / "recipes" / "quickstart.yaml"
    keys = ("dpo.beta", "seed", "stages.sft.data.0.source", "sft.train.steps", "name", "dpo", "x")
    values = ("0.3", "[a, b]", "{a: 1}", "null", "*x", "1e3", "yes", "'", "!!set {a}", "&a [*a]")
    settings = []
    for _ in range(random.randint(1, 3)):
        text = f"{random.choice(keys)}={random.choice(values)}".encode()
        text = damaged(text, random) if random.random() < 0.8 else drawn(random)
        # the command line hands over bytes that are no UTF-8 in this form
        settings.append(text.decode("utf-8", "surrogateescape"))
    return answered(lambda: load_recipe(path, settings))


def model_folder(files: Mapping[str, bytes], random: Random, folder: Path) -> str:
    """A small model's folder, one file of it damaged, read with its tokenizer."""
    from accord.checkpoint.folder import load_config, load_model
    from accord.text.chat import stop_ids
    from accord.text.tokenizer import Tokenizer

    name = random.choice(sorted(files))
    for other, content in files.items():
        (folder / other).write_bytes(content)
    if name.endswith(".json") and random.random() < 0.6:
        tree = changed(json.loads(files[name]), random)
        data = json.dumps(tree).encode()
    else:
        data = drawn(random) if random.random() < 0.2 else damaged(files[name], random)
    (folder / name).write_bytes(data)

    def read() -> None:
        load_config(folder)
        load_model(folder)
        tokenizer = Tokenizer.load(folder)
        tokenizer.encode("The film was a delight.")
        stop_ids(tokenizer)

    return answered(read)


SHARES: Mapping[str, float] = {
    "bytes": 0.2,
    "damage": 0.25,
    "cells": 0.25,
    "recipe": 0.12,
    "override": 0.1,
    "folder": 0.08,
}
"""How the cases are divided."""


def run(folder: Path, size: Size) -> Outcome:
    """All cases; each draws from its own name, so that a failed one can be run alone."""
    makers = _makers(folder)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in SHARES}
    failed: dict[str, str] = {}
    for kind, share in SHARES.items():
        for number in range(max(1, round(size.fuzz * share))):
            name = f"{size.seed}-{kind}-{number}"
            found = verdict(Case(name, partial(makers[kind], Random(name), folder)))
            counts[kind][found if found in ("accepted", "refused") else "broken"] += 1
            if found not in ("accepted", "refused"):
                failed[name] = found
    total = sum(count.total() for count in counts.values())
    parts = ", ".join(f"{count.total():,} {_CALLED[kind]}" for kind, count in counts.items())
    figure = f"{total:,} cases, {len(failed)} without a message ({parts})"
    details = {"counts": {kind: dict(sorted(count.items())) for kind, count in counts.items()}}
    return Outcome(not failed, figure, {**details, "failed": failed, "tokens": len(TOKENS)})


_CALLED: Mapping[str, str] = {
    "bytes": "files of any bytes",
    "damage": "damaged files of data",
    "cells": "rows of any cells",
    "recipe": "recipes",
    "override": "settings on the command line",
    "folder": "model folders",
}


def _makers(folder: Path) -> dict[str, Callable[[Random, Path], str]]:
    from battery.small import small_folder

    files = {path.name: path.read_bytes() for path in small_folder(folder / "small").iterdir()}
    return {
        "bytes": fuzz_data.any_bytes,
        "damage": fuzz_data.damaged_file,
        "cells": fuzz_data.any_cells,
        "recipe": recipe,
        "override": override,
        "folder": partial(model_folder, files),
    }


ROWS: tuple[Row, ...] = (
    Row(
        "fuzz",
        "files of any bytes, damaged files, rows of any cells, recipes, settings, model folders",
        "rows, all counted, or one error with its place; nothing else, no hang",
        run,
    ),
)
