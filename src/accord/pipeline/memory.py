"""How much memory a stage takes, from how much it took before, and how much there is."""

import json
import re
from pathlib import Path

from accord.errors import AccordError
from accord.pipeline import machine
from accord.pipeline.files import read_json

GIB = 1 << 30
DEFAULT_NEED = 2 * GIB
"""What a stage is taken to need that never ran before: torch itself and a small model."""
SHARE = 0.8
"""Share of the available memory that a study may fill unless it is told otherwise."""
UNITS = {"": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}
UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": GIB, "tib": 1 << 40}


def parse_bytes(text: str) -> int:
    """Bytes that a size such as `12GB`, `1.5 GiB` or `800000000` stands for.

    Raises:
        AccordError: It is no size above 0.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        fix = "write a number with a unit, such as 12GB or 800MiB"
        raise AccordError(f"'{text}' is not a size of memory", "--memory", fix)
    return int(float(found[1]) * UNITS[found[2]])


def budget(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that a study may fill: a share of what the machine has free now."""
    return int(SHARE * min(_available(meminfo), machine.memory_bytes()))


def _available(meminfo: Path) -> int:
    """The kernel's estimate of what can be had without swapping; without one, everything."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return machine.memory_bytes()
    kib = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kib[0] * 1024 if kib else machine.memory_bytes()


def needs(stages: Path, logs: Path) -> dict[str, int]:
    """Stage name to the most bytes a stage of that name held, by its log or its worker's record."""
    found: dict[str, int] = {}
    records = [(file.stem, whole_peak(file)) for file in logs.glob("*.json")]
    runs = stages.glob("*/accord/metrics.jsonl")
    tries = [(path.parent.parent.name, _logged(path)) for path in runs]
    for key, peak in [*records, *tries]:
        name = key.rpartition("-")[0]
        found[name] = max(found.get(name, 0), peak)
    return {name: peak for name, peak in found.items() if peak > 0}


def whole_peak(outcome: Path) -> int:
    """Most bytes a worker held whose stage ended well; 0 for one that was cut short."""
    record = read_json(outcome)
    return record.get("peak_memory_bytes", 0) if record.get("code") == 0 else 0


def _logged(path: Path) -> int:
    """The largest peak of a training log; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return max((json.loads(line).get("peak_memory_bytes", 0) for line in lines if line), default=0)
