"""Pretraining, DPO, GRPO, generation and serving beside transformers, TRL, vLLM, a plain loop.

    python benchmarks/run.py [--quick] [--only ROW …] [--threads 1] [--large] [--compile]
        [--peers VENV] [--json FILE]

Writes `benchmarks/results/cpu.json` (raw rates of each round) and, from it, `docs/benchmarks.md`.
`--only` replaces the named rows and leaves the others of an earlier run as they stand.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT, PAGE = HERE / "results" / "cpu.json", HERE.parent / "docs" / "benchmarks.md"
PEERS = ("transformers", "trl")


def rows(compile: bool, peers: Path | None) -> dict[str, Callable[[Path, bool], Any]]:
    """What can be measured, by name."""
    import checkpoints
    import generation
    import grpo
    import head
    import preference
    import preference_rows
    import pretraining
    import serving

    return {
        "pretraining": partial(pretraining.row, compile=compile),
        "dpo": partial(preference.row, compile=compile),
        "dpo-smollm2": preference_rows.chat_row,
        "dpo-growth": preference_rows.growth_row,
        "grpo": grpo.row,
        "generation-1": partial(generation.row, 1, 3.0),
        "generation-8": partial(generation.row, 8, 5.0),
        "generation-64": partial(generation.row, 64, 10.0),
        **{f"serving-{streams}": partial(serving.row, streams, peers) for streams in (1, 8, 64)},
        "head": head.row,
        "growth": pretraining.growth_row,
        "checkpoints": partial(checkpoints.save_row, "1.5 M"),
        "checkpoints-30m": partial(checkpoints.save_row, "30 M"),
        "checkpoints-steps": partial(checkpoints.step_row, "1.5 M"),
        "checkpoints-steps-30m": partial(checkpoints.step_row, "30 M"),
        "pretraining-large": pretraining.large_row,
    }


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of one step")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="GPT-2 124 M too (slow)")
    parser.add_argument("--compile", action="store_true", help="Accord compiled too (slow start)")
    parser.add_argument(
        "--peers",
        type=Path,
        metavar="VENV",
        default=os.environ.get("ACCORD_BENCH_PEERS"),
        help="environment with vLLM and fastapi, whose servers are measured beside Accord's",
    )
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


def calm_libraries(threads: int) -> None:
    """Threads, offline peers and their caches: settled before any library is loaded."""
    os.environ |= {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The machine, versions, revision and load, as they stand beside every row."""
    from importlib.metadata import version

    from accord.pipeline.machine import environment, git_revision, versions

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(HERE),
        "threads": arguments.threads,
        "quick": arguments.quick,
        "load": round(os.getloadavg()[0], 1),
        "environment": environment(),
        "gflops": {"fp32": product_rate("float32"), "bf16": product_rate("bfloat16")},
        "versions": versions() | {name: version(name) for name in PEERS},
    }


def product_rate(dtype: str, repeats: int = 15) -> int:
    """GFLOP/s of a 2048 x 256 x 2048 product, the best of some: what any contender can reach."""
    import torch

    a = torch.randn(2048, 256).to(getattr(torch, dtype))
    b = torch.randn(256, 2048).to(getattr(torch, dtype))
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        a @ b
        took.append(time.perf_counter() - began)
    return round(2 * 2048 * 256 * 2048 / min(took) / 1e9)


def main() -> int:
    arguments = parsed()
    calm_libraries(arguments.threads)
    from rich.console import Console
    from rich.table import Table

    import harness
    import tables

    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    known = rows(arguments.compile, arguments.peers)
    unknown = [name for name in arguments.only if name not in known]
    if unknown:
        console.print(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    wanted = arguments.only or [n for n in known if arguments.large or n != "pretraining-large"]
    held = json.loads(arguments.json.read_text())["rows"] if arguments.json.exists() else {}
    failed = False
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        # caches of an earlier run would spare some contenders their work
        os.environ |= {"HF_HOME": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        for name in wanted:
            row = known[name](Path(folder) / name, arguments.quick)
            measured = harness.measure(row, arguments.threads, status.update)
            header, *cells = tables.columns(row, measured), *tables.lines(row, measured)
            table = Table(*header, title=row.title, title_justify="left")
            for line in cells:
                table.add_row(*line)
            console.print(table, *tables.notes(row, measured), sep="\n", highlight=False)
            for contender, found in measured.items():
                if found.error:
                    failed = True
                    console.print(f"{contender}: {found.error}", style="red", markup=False)
            held[name] = tables.to_json(row, measured) | {"measured": facts(arguments)}
    result = {"rows": {name: held[name] for name in known if name in held}}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    arguments.page.write_text(tables.page(result))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
