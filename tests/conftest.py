"""What holds for all tests: how examples are drawn, and how failures are shown in CI.

A new example that fails is a find, and is wanted where somebody can look at it; CI compares
changes, and must not fail for what a change did not do. So CI draws the same examples each time.
EXAMPLES=500 draws so many of each property instead of a few: before a release, or where one looks
for something.

Where the variable CI is set, pytest shows what differs in full: for two disks that takes hours.
So it is taken out of this process; xdist's workers are told by a variable of our own.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent

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
_SLOW_S = 10
_LAST = ("unit", "golden", "house")
"""Directories of tests that take no time, so that no worker is left alone with a long one."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and keep for the end what takes no time.

    Kubernetes comes late: its programs may still be being built.
    """
    seconds_of: Counter[str] = Counter()
    for item in items:
        seconds_of[_unit_of(item)] += _seconds_of(item)

    def rank(item: pytest.Item) -> tuple[int, float]:
        if item.path.relative_to(HERE).parts[0] in _LAST:
            return 3, 0
        seconds = seconds_of[_unit_of(item)]
        if item.get_closest_marker("kube"):
            return 2, -seconds
        return 0 if seconds >= _SLOW_S else 1, -seconds

    items.sort(key=rank)


def _unit_of(item: pytest.Item) -> str:
    """What one worker does from its beginning to its end: a test, or a group of them."""
    group = item.get_closest_marker("xdist_group")
    return item.nodeid if group is None else f"@{group.args[0]}"


def _seconds_of(item: pytest.Item) -> float:
    slow = item.get_closest_marker("slow")
    return 1 if slow is None else slow.kwargs.get("seconds", _SLOW_S)
