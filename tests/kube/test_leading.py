"""Several operators, real processes: one leads, and whatever happens nothing is done twice."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clusters import Namespace
from control_plane import ControlPlane
from kube_estate import JOB, MIB, Estate, make_estate
from operators import holder, leader_among, operators, until

from reconciler.lab.transfers import EXPORT


@pytest.fixture
def slow(namespace: Namespace, tmp_path: Path) -> Iterator[Estate]:
    """Its disk takes some seconds to be exported."""
    made = make_estate(namespace, tmp_path, bandwidth_bytes_per_s=MIB // 4)
    yield made
    made.lab.close()


def is_moving(estate: Estate) -> bool:
    return any(one.kind == EXPORT and one.blocks for one in estate.lab.transfers.all)


def snapshots(estate: Estate) -> int:
    return sum(row.flag("is_a_snapshot") for row in estate.lab.pool.database.rows("VM"))


def left_over(estate: Estate) -> list[str]:
    return [str(path) for path in estate.remote.rglob("*.partial")]


def test_one_that_stands_still_while_another_takes_over_changes_nothing_any_more(
    slow: Estate,
) -> None:
    kubectl = slow.kubectl
    with operators(kubectl, slow.namespace.name, slow.root, 2) as replicas:
        kubectl.apply(slow.places + JOB)
        first = leader_among(replicas, kubectl)
        (second,) = [each for each in replicas if each is not first]
        until(lambda: is_moving(slow))
        first.stand_still()
        assert slow.points == []
        until(lambda: holder(kubectl) == second.pid)
        protected = "jsonpath={.status.protectedVMs.summary}=1/1"
        slow.wait(protected, "bj/nightly")
        point = slow.points
        assert len(point) == 1
        first.go_on()
        until(lambda: first.has_said("deposed"))
        # The one that woke up follows: the next request is the other's.
        run_again(slow)
        until(lambda: len(slow.points) == 2)
        assert slow.points[0] == point[0]
        assert holder(kubectl) == second.pid
        until(lambda: not left_over(slow))
        until(lambda: snapshots(slow) == 1)
        # It leads again once the other is gone, without a word of goodbye.
        second.kill()
        until(lambda: holder(kubectl) == first.pid)
        run_again(slow)
        until(lambda: len(slow.points) == 3)
        slow.wait("condition=Ready", "bj/nightly")
        assert first.end() == 0
        assert holder(kubectl) == 0, "it was given back"
    assert slow.is_restored_from(slow.points[-1])


def run_again(estate: Estate) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    at = f"backup.reconciler.io/run-at={now}"
    estate.kubectl("annotate", "--overwrite", "bj/nightly", at)


def test_an_api_server_that_is_killed_under_an_export_costs_nothing(
    make_plane: Callable[..., ControlPlane], tmp_path: Path
) -> None:
    plane = make_plane()
    estate = make_estate(plane.cluster.namespace(), tmp_path, bandwidth_bytes_per_s=MIB // 4)
    try:
        with operators(estate.kubectl, estate.namespace.name, tmp_path) as (operator,):
            estate.kubectl.apply(estate.places + JOB)
            until(lambda: is_moving(estate))
            plane.kill_api()
            plane.start_api()
            # Whether or not it led all the while: what it holds in the end is one whole point.
            estate.wait("jsonpath={.status.protectedVMs.summary}=1/1", "bj/nightly")
            estate.wait("condition=Ready", "bj/nightly")
            until(lambda: not left_over(estate))
            assert len(estate.points) == 1
            assert operator.process.poll() is None
        assert estate.is_restored_from(estate.points[0])
    finally:
        estate.lab.close()
