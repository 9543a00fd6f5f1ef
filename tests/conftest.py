"""What holds for all tests: how examples are drawn, and how failures are shown in CI.

A new example that fails is a find, and is wanted where somebody can look at it; CI compares
changes, and must not fail for what a change did not do. So CI draws the same examples each time.
EXAMPLES=500 draws so many of each property instead of a few: before a release, or where one looks
for something.

Where the variable CI is set, pytest shows what differs in full: for two disks that takes hours.
So it is taken out of this process; xdist's workers are told by a variable of our own.
"""

import os

import pytest
from hypothesis import settings

_SAME_EXAMPLES = "RECONCILER_TESTS_SAME_EXAMPLES"

if os.environ.pop("CI", None):
    os.environ[_SAME_EXAMPLES] = "1"
os.environ.pop("BUILD_NUMBER", None)

_EXAMPLES = int(os.environ.get("EXAMPLES", "50"))

settings.register_profile("same", derandomize=True, deadline=None, max_examples=_EXAMPLES)
settings.register_profile("new", deadline=None, max_examples=_EXAMPLES)
settings.load_profile("same" if os.environ.get(_SAME_EXAMPLES) else "new")


def pytest_make_parametrize_id(val: object) -> str | None:
    """A name of megabytes is of no use, and costs every process that handles it."""
    if isinstance(val, str | bytes) and len(val) > _NAME_MAX:
        return f"{val[:_NAME_MAX]!a} and {len(val) - _NAME_MAX} more"
    return None


_NAME_MAX = 100


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left alone with it at the end.

    Kubernetes comes last: its programs may still be being built.
    """

    def rank(item: pytest.Item) -> int:
        marks = {mark.name for mark in item.iter_markers()}
        return 2 if "kube" in marks else 0 if "slow" in marks else 1

    items.sort(key=rank)
