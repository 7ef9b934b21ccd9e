"""A real small disk that fills up under `accord run`: a tmpfs in a namespace of its own.

As a script it is what runs in the namespace: python small_disk.py FOLDER '{"base": 0}'
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

BYTES = 48 << 20
MOUNTED = "mounted"
ROOM = {"base": 0, "sft": 300_000, "dpo": 1_100_000, "ppo": 1_700_000}
"""Stage to the bytes that are left when something else fills the disk while the stage trains."""


def filled_up(folder: Path, rooms: Mapping[str, int] = ROOM) -> tuple[str, list[str]]:
    """What was done in a few words, and what was not as it must be."""
    from battery import kills

    folder.mkdir(parents=True)
    unshare = shutil.which("unshare")
    if unshare is None:
        return "no real disk, for there is no unshare here", []
    inside = [sys.executable, "-P", __file__, str(folder), json.dumps(dict(rooms))]
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", *inside],
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / MOUNTED).exists():
        return f"no real disk, for none could be mounted here ({done.stderr.strip()[-80:]})", []
    report = folder / "report.json"
    if not report.exists():
        return "a real disk", [f"the runs on it ended with {done.returncode}: {done.stderr}"]
    told = json.loads(report.read_text())
    faults = told["faults"]
    if not faults:
        whole = kills.data(folder / "whole")
        kills.finish(whole)
        faults = [f"{name} is unequal" for name in kills.differences(folder / "left", whole)]
    return (
        f"a real disk of {BYTES >> 20} MiB that fills up in {told['lives']} lives of a run",
        faults,
    )


def main(folder: Path, rooms: Mapping[str, int]) -> None:
    """Mount a disk, let it fill up in one stage after another, and leave the finished run."""
    from battery import kills

    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "none", str(disk)], check=True)
    (folder / MOUNTED).touch()
    home, faults = kills.data(disk / "home"), []
    for stage, room in rooms.items():
        faults += [f"{stage}, {room} bytes left: {fault}" for fault in _life(home, stage, room)]
    kills.finish(home)
    subprocess.run(["cp", "-r", str(home), str(folder / "left")], check=True)
    (folder / "report.json").write_text(json.dumps({"lives": len(rooms), "faults": faults}))


def _life(home: Path, stage: str, room: int) -> list[str]:
    """A run whose disk is filled up to `room` bytes once a stage has taken a step."""
    from battery import kills

    process = kills.start(home, *(f"{name}.save_every=1" for name in kills.STEPS))
    records = home / kills.RUN / stage / "accord" / "metrics.jsonl"
    kills.wait_until(lambda: records.exists() and records.stat().st_size > 0, process)
    ballast = home.parent / "ballast"
    _fill(ballast, room)
    _, said = process.communicate()
    ballast.unlink()
    told = "bytes free" in said and "needed" in said
    return [] if process.returncode == 2 and told else [f"exit code {process.returncode}: {said}"]


def _fill(ballast: Path, room: int) -> None:
    """Take all of a disk but `room` bytes, while others write."""
    with ballast.open("wb") as file:
        for _ in range(100):
            disk = os.statvfs(ballast.parent)
            # what was free a moment ago may be gone by now: then it is looked at again
            with suppress(OSError):
                size = max(1, disk.f_bavail * disk.f_frsize - room)
                os.posix_fallocate(file.fileno(), 0, size)
                return


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
