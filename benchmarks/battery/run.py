"""Run the reliability battery against Accord and write its table.

    python benchmarks/battery/run.py [--kills 100] [--flips 200] [--fuzz 10000] [--streams 64]
        [--seed 1] [--only KEY …] [--peers [only]] [--serve-python PATH] [--json FILE] [--page FILE]

Writes `benchmarks/results/battery.json` and, from it, the table of `docs/reliability.md`. `--only`
leaves the other rows' results as they stand. `--peers` does the same to TRL and transformers where
a row has a counterpart (`--peers only`: to them alone); PATH is an interpreter that can run
`transformers serve`. The exit code is 1 if a row fails; what a peer does has no part in it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
RESULT = HERE.parent / "results" / "battery.json"
PAGE = HERE.parents[1] / "docs" / "reliability.md"

if TYPE_CHECKING:
    from battery.row import Row, Size


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    from battery.row import Size

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for size in fields(Size):
        parser.add_argument(f"--{size.name}", type=int, default=size.default)
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY")
    parser.add_argument("--peers", nargs="?", const="too", choices=["too", "only"])
    parser.add_argument("--serve-python", metavar="PATH")
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


def measured(row: "Row", size: "Size") -> dict[str, Any]:
    """One row's result as it stands in the file; what it raises is a failure of the row."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"battery-{row.key}-") as folder:
        try:
            outcome = asdict(row.run(Path(folder), size))
        except Exception as error:
            outcome = {"passed": False, "figure": f"{type(error).__name__}: {error}", "details": {}}
        # results say what failed, not where this machine keeps its temporary files
        outcome = json.loads(json.dumps(outcome).replace(folder, row.key))
    took = {
        "seconds": round(time.monotonic() - began, 1),
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    return outcome | {"size": asdict(size)} | took


def main(arguments: list[str] | None = None) -> int:
    from battery import rows, table
    from battery.peers import cases, lives
    from battery.row import Size

    options = parsed(arguments)
    size = Size(**{each.name: getattr(options, each.name) for each in fields(Size)})
    known = {row.key: row for row in rows.all_rows()}
    if unknown := set(options.only) - set(known):
        sys.exit(f"no row {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    chosen = [known[key] for key in options.only or known]
    written = json.loads(options.json.read_text()) if options.json.exists() else {}
    results = dict(written.get("rows", {})) if options.only or options.peers == "only" else {}
    peers = dict(written.get("peers", {}))
    for row in chosen if options.peers != "only" else []:
        results[row.key] = measured(row, size)
        print(table.line(row, results[row.key]), flush=True)
    for row in counterparts(chosen, options.serve_python) if options.peers else []:
        peers[row.key] = measured(row, cases.bounded(size)) | {"peer": lives.versions()}
        print(f"TRL   {table.line(row, peers[row.key])}", flush=True)
    results = {key: results[key] for key in known if key in results}
    peers = {key: peers[key] for key in known if key in peers}
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    document = {"machine": machine, "rows": results, "peers": peers}
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.page.exists():
        text = table.page(list(known.values()), results, peers)
        options.page.write_text(table.replaced(options.page.read_text(), text))
    return int(not all(result["passed"] for result in results.values()))


def counterparts(chosen: Sequence["Row"], serve_python: str | None) -> list["Row"]:
    """The chosen rows as they are run against a peer."""
    from battery.peers import cases, serving

    if serve_python is not None:
        os.environ[serving.INTERPRETER] = serve_python
    return [replace(row, run=cases.PEERS[row.key]) for row in chosen if row.key in cases.PEERS]


if __name__ == "__main__":
    # a row that imports TRL or starts torch wants the small threads of everything else here
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # not this folder: its modules would hide standard ones of the same name
    sys.path[0] = str(HERE.parent)
    sys.exit(main())
