"""Folders of a study that no variant and no seed of it names any more. No torch."""

import shutil

from accord.pipeline.artifacts import Artifact
from accord.pipeline.lock import locked
from accord.pipeline.study_plan import LOCK, LOGS, STAGES, Plan, some

UNITS = ("B", "kB", "MB", "GB", "TB")


def stale(laid: Plan) -> dict[str, int]:
    """Key of every stage folder that no cell of the plan needs, with its bytes.

    Folders that no stage wrote are no part of it.
    """
    found = {}
    for folder in sorted((laid.out / STAGES).glob("*")):
        ours = folder.is_dir() and not folder.is_symlink()
        artifact = Artifact(folder)
        if ours and folder.name not in laid.nodes and (artifact.started or artifact.finished):
            sizes = (file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
            found[folder.name] = sum(sizes)
    return found


def delete(laid: Plan) -> dict[str, int]:
    """Delete what `stale` finds, and its logs; gives the same.

    Raises:
        AccordError: The study, or a stage that would go, is being run.
    """
    with locked(laid.out / LOCK):
        found = stale(laid)
        for key in found:
            folder = laid.folder(key)
            with locked(folder / "accord" / "lock"):
                shutil.rmtree(folder)
            for log in (laid.out / LOGS).glob(f"{key}.*"):
                log.unlink()
    return found


def text(found: dict[str, int], deleted: str) -> str:
    """What goes, a line each with its size, and the sum; `deleted` says whether it went."""
    lines = [f"{_size(size):>9}  {key}" for key, size in found.items()]
    return "\n".join([*lines, f"{_size(sum(found.values()))} in {_count(found)} {deleted}"])


def _count(found: dict[str, int]) -> str:
    return some(len(found), "folder") + " that no variant names:"


def _size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:.0f} B"
