"""What the machine offers to this process: cores, memory, CPU flags. Reads files, no torch."""

import math
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")
PACKAGES = ("accord", "torch", "tokenizers", "safetensors", "numpy", "datasets", "transformers")
WANTED_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "bf16", "asimd")


def affinity() -> frozenset[int]:
    """Numbers of the logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def quota(root: Path = CGROUP) -> float | None:
    """Processors that the control group allows, for example 1.5; none: no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return None if limit < 0 else limit / int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def physical_cores(topology: Path = TOPOLOGY) -> int:
    """Cores among the allowed processors, two hyper-threads of a core counted once."""
    cores = set()
    for number in affinity():
        folder = topology / f"cpu{number}" / "topology"
        try:
            package = (folder / "physical_package_id").read_text().strip()
            cores.add((package, (folder / "core_id").read_text().strip()))
        except OSError:
            cores.add(("", str(number)))
    return max(1, len(cores))


def usable_cores() -> int:
    """Threads worth starting: physical cores within affinity and control-group quota."""
    limit = quota()
    return physical_cores() if limit is None else max(1, min(physical_cores(), math.ceil(limit)))


def memory_bytes(root: Path = CGROUP) -> int:
    """Memory that this process may use: the machine's, or its control group's limit if less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(total, int((root / name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def cpu() -> tuple[str, tuple[str, ...]]:
    """Name of the processor and those of its flags that matter for matrix products."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "model name":
                name = value
            elif key in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    return name, tuple(flag for flag in WANTED_FLAGS if flag in flags)


def gpus() -> list[str]:
    """Names of NVIDIA GPUs, asked of the driver's own tool; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def environment() -> dict[str, Any]:
    """The machine as it is recorded beside a result."""
    name, flags = cpu()
    return {
        "machine": name,
        "flags": list(flags),
        "cores": usable_cores(),
        "threads": threads(),
        "memory_bytes": memory_bytes(),
        "gpus": gpus(),
        "platform": platform.platform(),
    }


def threads() -> int:
    """Threads that computations use: OMP_NUM_THREADS, or every usable core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else usable_cores()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result; missing ones left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision(folder: Path) -> str | None:
    """Commit of the repository around a folder, `-dirty` if files differ; none without one."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
