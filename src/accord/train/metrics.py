"""Metrics of a run: sums over micro-batches and ranks, the JSONL log, optional trackers."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.peak import peak_resident_bytes


class Sums:
    """Named (sum, weight) pairs in float64, added over micro-batches and then over ranks.

    Every rank must add the same names: the pairs travel as one vector, in the order of the names.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pairs: dict[str, Tensor] = {}

    def add(self, name: str, total: Tensor | float, weight: Tensor | float) -> None:
        """Add `total` and `weight` (scalars) to what `name` holds."""
        pair = torch.stack([self._scalar(total), self._scalar(weight)])
        held = self._pairs.get(name)
        self._pairs[name] = pair if held is None else held + pair

    def _scalar(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.detach().to(self._device, torch.float64).reshape(())
        return torch.tensor(float(value), dtype=torch.float64, device=self._device)

    def pack(self) -> Tensor:
        """The pairs as one float64 vector, by sorted name: what ranks add up."""
        if not self._pairs:
            return torch.zeros(0, dtype=torch.float64, device=self._device)
        return torch.cat([self._pairs[name] for name in sorted(self._pairs)])

    def unpack(self, vector: Tensor) -> dict[str, tuple[float, float]]:
        """`pack`'s vector, summed over ranks, as name to (sum, weight)."""
        values = vector.tolist()
        names = sorted(self._pairs)
        return {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(names)}


class Window:
    """Metrics between two lines of the log: (sum, weight) pairs and the time training took."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[float, float]] = {}
        self.seconds = 0.0

    def add(self, pairs: Mapping[str, tuple[float, float]]) -> None:
        """Add a step's pairs."""
        for name, (total, weight) in pairs.items():
            held = self._pairs.get(name, (0.0, 0.0))
            self._pairs[name] = (held[0] + total, held[1] + weight)

    def means(self) -> dict[str, float]:
        """Sum over weight by name, without those of no weight."""
        return means(self._pairs)

    def rate(self, name: str) -> float:
        """What `name` adds up to in a second of training; evaluation and saving do not count."""
        return self._pairs.get(name, (0.0, 0.0))[0] / self.seconds if self.seconds else 0.0

    def rates(self, unit: str) -> dict[str, float]:
        """Tokens a second, and rows a second where they are something else than tokens."""
        found = {"tokens_per_second": self.rate("_tokens")}
        return found if unit == "tokens" else {**found, f"{unit}_per_second": self.rate("_rows")}


def means(pairs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Sum over weight by name; names whose weight is 0 have no mean and are left out."""
    return {name: total / weight for name, (total, weight) in pairs.items() if weight != 0}


class RunLog:
    """Append-only JSONL of a run, one line a logged step (`accord/metrics.jsonl` of a stage)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line; numbers that JSON cannot hold (nan, inf) become null."""
        plain = {k: _finite(v) for k, v in line.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Make the lines durable: called before a checkpoint that counts on them."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Keep the lines up to `step`: those of steps that a resumed run takes again go."""
        if not self.path.exists():
            return
        kept = [line for line in read_log(self.path) if line["step"] <= step]
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), encoding="utf-8"
        )
        fresh.replace(self.path)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run log; a last line that a kill cut short is left out.

    Raises:
        AccordError: A line before the last is not JSON.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise AccordError(
                f"the run log is damaged: {error}",
                f"{path}:{number}",
                "remove the stage's folder to train it again",
            ) from error
    return rows


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far, in bytes: CUDA's allocator on a GPU, else the process's resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


class TensorBoard:
    """Mirror of the run log for TensorBoard, in `accord/tensorboard` of a stage.

    Raises:
        AccordError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise AccordError(
                "the tracker 'tensorboard' is not installed",
                "trackers",
                'pip install "accord[track]", or take it out of trackers',
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write every number of a line."""
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
