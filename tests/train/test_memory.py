"""Memory that a step frees is there for the next."""

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from accord.train.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    # 40 MiB: past the size up to which glibc learns to keep blocks by itself
    for _ in range(4):
        torch.empty(40 << 18).fill_(1.0)

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_step_takes_no_page_twice() -> None:
    pages = 4 * (40 << 20) // resource.getpagesize()
    assert faults("kept") < 0.05 * pages
    # transparent huge pages take 512 at a time
    assert faults("as it is") > pages / 600
