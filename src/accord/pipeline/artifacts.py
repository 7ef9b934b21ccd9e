"""A stage's folder: whether its result stands, how a try begins, and how it ends.

`accord/started.json` is written when a try begins and `accord/stage.json` when it has ended well;
a folder with neither is not a stage's, and nothing in it is ever deleted.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.pipeline.files import hash_file, read_json, write_json
from accord.pipeline.fingerprint import MODEL_FILES

OWN_FILES = (*MODEL_FILES, "README.md", "report.html", "report.json")
"""What stages write beside `accord/`."""
WEIGHTS = "*.safetensors"
BOOKKEEPING = frozenset({"stage.json", "started.json", "lock"})


@dataclass(frozen=True)
class Artifact:
    """The folder a stage writes."""

    folder: Path

    @property
    def records(self) -> Path:
        """Where Accord's own records lie."""
        return self.folder / "accord"

    @property
    def finished(self) -> dict[str, Any]:
        """The record of the last try that ended well; empty if there is none."""
        return read_json(self.records / "stage.json")

    @property
    def started(self) -> dict[str, Any]:
        """The record of the last try that began; empty if there is none."""
        return read_json(self.records / "started.json")

    def stands(self, fingerprint: str) -> bool:
        """Whether the folder holds the finished result of just these settings and inputs."""
        record = self.finished
        return record.get("fingerprint") == fingerprint and _sizes_hold(self.folder, record)

    def begin(self, fingerprint: str) -> None:
        """Make the folder ready for a try, keeping what an unfinished try of the same left.

        Raises:
            AccordError: The folder holds a model or a report that no stage wrote.
        """
        if not self.finished and not self.started:
            self._refuse_foreign()
        same = self.started.get("fingerprint") == fingerprint and not self.finished
        seconds = self.seconds() if same else 0.0
        if not same:
            self.clear()
        # Only now: a crash inside clear() must leave the old fingerprint, so that it clears again.
        self.records.mkdir(parents=True, exist_ok=True)
        record = {"fingerprint": fingerprint, "seconds": seconds, "began": time.time()}
        write_json(self.records / "started.json", record)

    def seconds(self) -> float:
        """Wall-clock seconds of all tries, up to the last file that an unfinished one wrote."""
        record = self.started
        if not record:
            return 0.0
        files = (file for file in self.folder.rglob("*") if file.name not in BOOKKEEPING)
        newest = max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
        return record["seconds"] + max(0.0, newest - record["began"])

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write `accord/stage.json`: from here on the result stands."""
        started = self.started
        seconds = started["seconds"] + time.time() - started["began"]
        outputs = _sizes(self.folder)
        full = {**record, "fingerprint": started["fingerprint"]}
        weights = {f.name: hash_file(f) for f in sorted(self.folder.glob(WEIGHTS))}
        full |= {"seconds": round(seconds, 3), "outputs": outputs, "weights": weights}
        write_json(self.records / "stage.json", full)

    def check_weights(self) -> None:
        """Compare the weights with their SHA-256 in the record; a folder without one passes.

        Raises:
            AccordError: A file is not as the stage wrote it.
        """
        for name, written in self.finished.get("weights", {}).items():
            file = self.folder / name
            if not file.is_file() or hash_file(file) != written:
                raise AccordError(
                    f"'{name}' is missing or not as its stage wrote it: its SHA-256 differs",
                    str(file),
                    "delete accord/stage.json there and run the recipe again, which makes it anew; "
                    "if you changed it, copy the folder without its 'accord' and start from that",
                )

    def clear(self) -> None:
        """Delete what stages wrote here, and nothing else."""
        for file in [file for pattern in OWN_FILES for file in self.folder.glob(pattern)]:
            file.unlink()
        for entry in self.records.glob("*") if self.records.is_dir() else ():
            if entry.name in BOOKKEEPING:
                continue
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (self.records / "stage.json").unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        found = [file for pattern in OWN_FILES for file in self.folder.glob(pattern)]
        if found:
            raise AccordError(
                f"the folder holds '{found[0].name}', which no stage of Accord wrote",
                str(self.folder),
                "give another folder as --out; nothing was changed",
            )


def _sizes(folder: Path) -> dict[str, int]:
    """Every file that a stage left, with its bytes; pages that a user may edit are left out."""
    found = {file for pattern in MODEL_FILES for file in folder.glob(pattern)}
    found |= {file for file in folder.glob("accord/*") if file.name not in BOOKKEEPING}
    files = sorted(file for file in found if file.is_file())
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def _sizes_hold(folder: Path, record: Mapping[str, Any]) -> bool:
    for name, size in record.get("outputs", {}).items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            return False
    return True
