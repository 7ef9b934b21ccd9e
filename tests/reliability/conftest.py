"""The battery's own cases, with small numbers: `from battery import …` finds them."""

import sys
from pathlib import Path

# last, so that no script of the benchmarks takes the name of an installed package
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
