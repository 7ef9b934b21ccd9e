"""Plant every fault in short real runs, run healthy ones beside them, and count what is found.

    python benchmarks/diagnosis/run.py [--quick] [--only NAME …] [--seeds 6] [--first-seed 21]
        [--workers 2] [--json FILE] [--page FILE]

Writes `benchmarks/results/diagnosis.json` and, from it, the table of `docs/diagnosis.md`. `--only`
takes the beginnings of names (`healthy`: all healthy runs) and leaves the others' results standing.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent / "results" / "diagnosis.json"
PAGE = HERE.parents[1] / "docs" / "diagnosis.md"
QUICK = (
    "policy stands: dpo, lr 1e-9",
    "wrong reference: dpo, base model",
    "loss spike: sft, one corrupted batch",
    "healthy sft",
)
"""What `--quick` runs: one seed of a few."""
SHARED = 3
"""Consecutive seeds that start from the same trained models."""

if TYPE_CHECKING:
    from diagnosis.cell import Cell, Outcome


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed of a few runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=21)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


def calm_libraries() -> None:
    """One thread a worker, and the benchmark's own rewards importable in recipes."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))


def cells() -> "dict[str, Cell]":
    """Every run by name, the healthy ones last."""
    from diagnosis.faults import FAULTS
    from diagnosis.healthy import HEALTHY

    return {**FAULTS, **HEALTHY}


def chosen(only: Sequence[str], quick: bool) -> list[str]:
    """Names of the runs that were asked for."""
    names = list(cells())
    if quick:
        return [name for name in names if name in QUICK]
    if not only:
        return names
    return [name for name in names if any(name.startswith(start) for start in only)]


def founded(world: str, seed: int, home: str) -> str:
    """Train what a world's runs of some seeds start from."""
    calm_libraries()
    from diagnosis.cell import prepared

    return str(prepared(world, seed // SHARED, Path(home)))


def ran(name: str, seed: int, home: str) -> "Outcome":
    """One run, in a worker's own folder."""
    calm_libraries()
    from diagnosis.cell import made, prepared

    cell = cells()[name]
    founded = prepared(cell.world, seed // SHARED, Path(home))
    return made(cell, seed, founded, Path(home) / f"run-{os.getpid()}")


def outcomes(names: Sequence[str], seeds: Sequence[int], workers: int) -> "Iterator[Outcome]":
    """All runs, as they end; what they start from is trained first."""
    known = cells()
    worlds = {(known[name].world, seed // SHARED * SHARED) for name in names for seed in seeds}
    with (
        tempfile.TemporaryDirectory() as home,
        multiprocessing.get_context("spawn").Pool(workers, calm_libraries) as pool,
    ):
        pool.starmap(founded, [(*pair, home) for pair in sorted(worlds)], chunksize=1)
        todo = [(name, seed, home) for name in names for seed in seeds]
        waiting = [pool.apply_async(ran, job) for job in todo]
        for job in waiting:
            yield job.get()


def facts(arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """The machine, versions, seeds and time."""
    from accord.pipeline.machine import environment, git_revision, versions

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(HERE),
        "workers": arguments.workers,
        "minutes": round(seconds / 60, 1),
        "environment": environment(),
        "versions": versions(),
    }


def main(arguments: list[str] | None = None) -> int:
    given = parsed(arguments)
    calm_libraries()
    from diagnosis import table

    names, count = chosen(given.only, given.quick), 1 if given.quick else given.seeds
    if not names:
        print(f"no run begins so; there are {', '.join(cells())}")
        return 2
    seeds, began = range(given.first_seed, given.first_seed + count), time.monotonic()
    held = json.loads(given.json.read_text())["runs"] if given.json.exists() else {}
    fresh: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes(names, seeds, given.workers):
        print(table.line(outcome), flush=True)
        fresh.setdefault(outcome.name, []).append(asdict(outcome))
    known = cells()
    held |= {name: table.run_json(known[name], fresh[name]) for name in fresh}
    took = time.monotonic() - began
    result = {
        "measured": facts(given, took),
        "runs": {name: held[name] for name in known if name in held},
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(table.written(result))
    if given.page.exists():
        given.page.write_text(table.inserted(given.page.read_text(), result))
    print("\n".join(table.page(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
