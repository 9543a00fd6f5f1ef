"""What manifests/ and the chart become on a real API server."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from clusters import Cluster
from rendering import MANIFESTS


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[None]]:
    """Keeps the other processes of the run from applying what is of the whole cluster meanwhile."""
    base = tmp_path_factory.getbasetemp()

    @contextmanager
    def hold() -> Iterator[None]:
        with (base.parent / "installing.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    return hold


@pytest.fixture(scope="session")
def installed(
    cluster: Cluster, controllers: None, alone: Callable[[], AbstractContextManager[None]]
) -> Path:
    """All of it is applied, in `backup-system`; returns what was applied."""
    place = MANIFESTS / "default"
    with alone():
        cluster.kubectl("apply", "-k", str(place))
    return place
