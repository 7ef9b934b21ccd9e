"""How much memory this process has held."""

import resource
from pathlib import Path


def peak_resident_bytes() -> int:
    """Most memory this process has held so far, in bytes.

    Linux's own count of the process: `getrusage` also remembers what its parent held when it was
    started.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
