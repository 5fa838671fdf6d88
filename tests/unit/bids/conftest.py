"""Make `trees` importable: pytest's importlib mode leaves the folder of a test off the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
