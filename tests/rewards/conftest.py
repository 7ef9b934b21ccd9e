import sys
from pathlib import Path

# helpers is a module of the tests
sys.path.insert(0, str(Path(__file__).parent))
