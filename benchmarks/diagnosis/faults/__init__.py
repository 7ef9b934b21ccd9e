"""Every fault that is planted: how, where, and which findings are meant for it."""

from collections.abc import Mapping

from diagnosis.cell import Cell
from diagnosis.faults.preference import PREFERENCE
from diagnosis.faults.rollouts import ROLLOUTS
from diagnosis.faults.supervised import SUPERVISED

FAULTS: Mapping[str, Cell] = {cell.name: cell for cell in (*PREFERENCE, *SUPERVISED, *ROLLOUTS)}
