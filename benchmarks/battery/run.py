"""Run the reliability battery against Accord and write its table.

    python benchmarks/battery/run.py [--kills 100] [--flips 200] [--fuzz 10000] [--streams 64]
        [--seed 1] [--only KEY …] [--json FILE] [--page FILE]

Writes `benchmarks/results/battery.json` and, from it, the table of `docs/reliability.md`. `--only`
leaves the other rows' results as they stand. The exit code is 1 if a row fails.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, fields
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
    return outcome | {"size": asdict(size), "seconds": round(time.monotonic() - began, 1)}


def main(arguments: list[str] | None = None) -> int:
    from battery import rows, table
    from battery.row import Size

    options = parsed(arguments)
    size = Size(**{each.name: getattr(options, each.name) for each in fields(Size)})
    known = {row.key: row for row in rows.all_rows()}
    if unknown := set(options.only) - set(known):
        sys.exit(f"no row {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    written = json.loads(options.json.read_text()) if options.only and options.json.exists() else {}
    results: dict[str, Any] = written.get("rows", {})
    for key in options.only or known:
        results[key] = measured(known[key], size) | {"measured": f"{datetime.now(UTC):%Y-%m-%d}"}
        print(table.line(known[key], results[key]), flush=True)
    results = {key: results[key] for key in known if key in results}
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    options.json.write_text(json.dumps({"machine": machine, "rows": results}, indent=1) + "\n")
    if options.page.exists():
        options.page.write_text(
            table.replaced(options.page.read_text(), table.page(list(known.values()), results))
        )
    return int(not all(result["passed"] for result in results.values()))


if __name__ == "__main__":
    # a row that imports TRL or starts torch wants the small threads of everything else here
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(HERE.parent))
    sys.exit(main())
