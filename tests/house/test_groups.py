"""Tests that share what is costly to start are run by one worker."""

import pytest

GROUP = "kept-together"


@pytest.mark.xdist_group(GROUP)
def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist knows a group by what it appends to names: with some pytest it does in vain."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith(f"@{GROUP}")
