"""What `accord doctor` finds: hardware, libraries, threads, and what to do about them."""

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from statistics import median
from typing import Any

from accord.pipeline import machine

GIB = 2**30
LITTLE_DISK = 2 * GIB
LITTLE_MEMORY = 4 * GIB
SMALL, LARGE = 256, 1024
"""Sides of the matrix products: one in which threads cost, one that measures speed."""

Findings = dict[str, Any]


def examine(network: bool = False) -> Findings:
    """Look at everything; with `network`, also try to reach the hub."""
    findings: Findings = {
        "hardware": hardware(),
        "libraries": libraries(),
        "extras": extras(),
        "torch": {},
        "threads": {},
        "matmul_gflops": {},
        "cache": caches(),
        "hub": {"reachable": reachable() if network else None},
    }
    if findings["libraries"].get("torch"):
        findings["torch"] = torch_build()
        findings["threads"] = thread_times()
        findings["matmul_gflops"] = matmul_speed()
    findings["problems"] = problems(findings)
    findings["advice"] = advice(findings)
    return findings


def hardware() -> dict[str, Any]:
    """The processor, what this process may use of it, memory, disk and GPUs."""
    name, flags = machine.cpu()
    return {
        "machine": name,
        "flags": list(flags),
        "processors": len(machine.affinity()),
        "physical_cores": machine.physical_cores(),
        "quota": machine.quota(),
        "usable_cores": machine.usable_cores(),
        "memory_bytes": machine.memory_bytes(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "gpus": machine.gpus(),
    }


def _requirements() -> list[tuple[str, str | None]]:
    """Every package Accord names, with the extra that wants it; none for the core."""
    found = []
    for line in requires("accord") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if name != "accord":
            found.append((name, extra[1] if extra else None))
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def libraries() -> dict[str, str | None]:
    """The core's packages with their versions; none where one is missing."""
    return {name: _version(name) for name, extra in _requirements() if extra is None}


def extras() -> dict[str, dict[str, Any]]:
    """Each extra: whether it is complete, what it lacks, and the line that installs it."""
    found: dict[str, dict[str, Any]] = {}
    for name, extra in _requirements():
        if extra is not None:
            install = f"pip install 'accord[{extra}]'"
            entry = found.setdefault(extra, {"present": True, "missing": [], "install": install})
            if _version(name) is None:
                entry["present"] = False
                entry["missing"].append(name)
    return found


def torch_build() -> dict[str, Any]:
    """Which build of torch this is, what it can use, and what lies beside it for nothing."""
    import torch

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    names = {distribution.metadata["Name"] or "" for distribution in distributions()}
    needless = sorted(name for name in names if name.startswith(("nvidia-", "triton")))
    return {
        "version": torch.__version__,
        "cuda_build": torch.version.cuda,
        "cuda_available": torch.cuda.is_available(),
        "compiler": compiler,
        "needless_packages": [] if torch.version.cuda else needless,
    }


def thread_times() -> dict[str, Any]:
    """Milliseconds of a small matrix product with one thread and with all usable cores."""
    import torch

    before = torch.get_num_threads()
    left, right = torch.ones(SMALL, SMALL), torch.ones(SMALL, SMALL)
    times = {}
    for count in sorted({1, machine.usable_cores()}):
        torch.set_num_threads(count)
        times[str(count)] = round(1e3 * _seconds(lambda: left @ right, 30), 4)
    torch.set_num_threads(before)
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "used": machine.threads(),
        "small_product_ms": times,
        "best": int(min(times, key=lambda count: times[count])),
    }


def matmul_speed() -> dict[str, float]:
    """Speed of a large matrix product on the CPU in GFLOP/s, in fp32 and in bf16."""
    import torch

    torch.set_num_threads(machine.threads())
    speeds = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left = torch.ones(LARGE, LARGE, dtype=dtype)
        seconds = _seconds(lambda left=left: left @ left, 3)
        speeds[name] = round(2 * LARGE**3 / seconds / 1e9, 1)
    return speeds


def _seconds(work: Callable[[], object], times: int) -> float:
    work()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def caches() -> dict[str, Any]:
    """Accord's cache folder and its size."""
    from accord.data.pypi import default_cache

    folder = default_cache(os.environ)
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return {"folder": str(folder), "bytes": sum(file.stat().st_size for file in files)}


def reachable() -> bool:
    """Whether the hub answers."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    from huggingface_hub.constants import ENDPOINT

    try:
        with urlopen(Request(ENDPOINT, method="HEAD"), timeout=10):
            return True
    except (URLError, OSError):
        return False


def problems(findings: Findings) -> list[str]:
    """What stops Accord from working."""
    found = [
        f"{name} is missing: pip install '{name}'"
        for name, number in findings["libraries"].items()
        if number is None
    ]
    free = findings["hardware"]["disk_free_bytes"]
    if free < LITTLE_DISK:
        found.append(f"only {_gib(free)} of disk are free here: checkpoints will not fit")
    if findings["hub"]["reachable"] is False:
        found.append("the hub cannot be reached: hub: sources will fail")
    return found


def advice(findings: Findings) -> list[str]:
    """What would make Accord faster or the machine tidier."""
    found = []
    hard, torch, threads = findings["hardware"], findings["torch"], findings["threads"]
    if threads and threads["best"] == 1 and hard["usable_cores"] > 1:
        found.append(
            "one thread is faster than several on a small product: the machine is busy or its "
            "threads spin; set OMP_NUM_THREADS=1 while it is"
        )
    if threads and (threads["OMP_WAIT_POLICY"] or "").upper() != "PASSIVE":
        found.append("set OMP_WAIT_POLICY=PASSIVE: threads that spin slow a busy machine down")
    if threads and threads["used"] > hard["usable_cores"]:
        cores = hard["usable_cores"]
        found.append(f"OMP_NUM_THREADS={threads['used']} is more than the {cores} usable cores")
    speed = findings["matmul_gflops"]
    if speed and speed["bf16"] > 1.2 * speed["fp32"]:
        ratio = speed["bf16"] / speed["fp32"]
        found.append(f"bf16 products are {ratio:.1f} times as fast here: set precision=bf16")
    elif speed:
        found.append("bf16 is not faster here: leave precision=fp32")
    if torch and not torch["compiler"]:
        found.append("no C++ compiler: compile=true will fail; install g++ or leave it off")
    if torch and torch["cuda_build"] and not hard["gpus"]:
        found.append("torch is built for CUDA and there is no GPU: its CPU build is far smaller")
    if torch and torch["needless_packages"]:
        names = " ".join(torch["needless_packages"])
        found.append(f"a CPU build of torch needs none of these: pip uninstall {names}")
    if hard["memory_bytes"] < LITTLE_MEMORY:
        found.append(f"{_gib(hard['memory_bytes'])} of memory: keep batch_size small")
    for extra, entry in findings["extras"].items():
        if not entry["present"] and extra != "dev":
            missing = ", ".join(entry["missing"])
            found.append(f"the extra '{extra}' is missing ({missing}): {entry['install']}")
    return found


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB"


def lines(findings: Findings) -> list[str]:
    """The findings for a terminal, a line each."""
    hard, torch, threads = findings["hardware"], findings["torch"], findings["threads"]
    limit = "" if hard["quota"] is None else f", quota {hard['quota']:g}"
    out = [
        f"processor   {hard['machine']}",
        f"flags       {' '.join(hard['flags']) or 'none that matter'}",
        f"cores       {hard['usable_cores']} usable of {hard['physical_cores']} physical, "
        f"{hard['processors']} processors allowed{limit}",
        f"memory      {_gib(hard['memory_bytes'])}",
        f"disk        {_gib(hard['disk_free_bytes'])} free here",
        f"GPUs        {'; '.join(hard['gpus']) or 'none'}",
        "libraries   " + _listed(findings["libraries"]),
        "extras      " + _listed({k: "yes" if e["present"] else "no" for k, e in
                                  findings["extras"].items()}),
    ]  # fmt: skip
    if torch:
        times = threads["small_product_ms"].items()
        speed = findings["matmul_gflops"]
        build = f"CUDA {torch['cuda_build']}" if torch["cuda_build"] else "CPU build"
        out += [
            f"torch       {torch['version']}, {build}, compiler {torch['compiler'] or 'none'}",
            f"threads     {threads['used']} used; OMP_WAIT_POLICY={threads['OMP_WAIT_POLICY']}; "
            + ", ".join(f"{ms:.2f} ms at {count}" for count, ms in times)
            + f" (256³ product): {threads['best']} is best",
            f"products    fp32 {speed['fp32']:,.0f}, bf16 {speed['bf16']:,.0f} GFLOP/s (1024³)",
        ]
    cache = findings["cache"]
    out.append(f"cache       {cache['folder']}, {_gib(cache['bytes'])}")
    answer = {None: "not asked (--network)", True: "reachable", False: "not reachable"}
    out.append(f"hub         {answer[findings['hub']['reachable']]}")
    out += [f"problem     {text}" for text in findings["problems"]]
    return out + [f"advice      {text}" for text in findings["advice"]]


def _listed(values: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {value or 'MISSING'}" for name, value in values.items())
