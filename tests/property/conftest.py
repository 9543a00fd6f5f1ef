"""Tests of this directory share modules: generated worlds, and what actions do to one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
