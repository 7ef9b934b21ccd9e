"""Rows whose cases are tests of the suite already: run as they stand, and counted."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from battery.row import Outcome

ROOT = Path(__file__).resolve().parents[2]
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped|deselected)")


def through_tests(*ids: str, environment: Mapping[str, str] = {}) -> Outcome:
    """Run tests by their ids; passes if all of them do and none is skipped."""
    command = [sys.executable, "-m", "pytest", *ids, "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:]
    counts = {name: int(count) for count, name in _COUNT.findall("".join(last))}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    passed = done.returncode == 0 and set(counts) == {"passed"}
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) or done.stdout[-400:]
    return Outcome(passed, f"{told} of the tests", {"counts": counts, "failed": failed})
