"""What a planted fault is."""

from typing import Any

from diagnosis.cell import Cell
from diagnosis.worlds import Stages


def fault(name: str, world: str, stages: Stages, *expected: str, **more: Any) -> Cell:
    """A run of these stages in a world, and the findings of which one is meant to be raised."""
    return Cell(name, world, stages, frozenset(expected), **more)
