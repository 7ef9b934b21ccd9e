import sys
from pathlib import Path

# tests import their neighbour tiny_models by name
sys.path.insert(0, str(Path(__file__).parent))
