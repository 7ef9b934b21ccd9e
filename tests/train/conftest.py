import sys
from pathlib import Path

# train_toy is a module of the tests and, for kills and ranks, a script that processes import.
sys.path.insert(0, str(Path(__file__).parent))
