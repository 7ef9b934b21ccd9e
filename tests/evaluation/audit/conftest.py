import sys
from pathlib import Path

# judges is a module of the tests that several of them import
sys.path.insert(0, str(Path(__file__).parent))
