"""How examples are drawn: at random on a developer's machine, the same ones each time in CI.

A new example that fails is a find, and is wanted where somebody can look at it; CI compares
changes, and must not fail for what a change did not do.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("developer", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
