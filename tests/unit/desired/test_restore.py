"""Kind Restore: what a manifest says, and what the planner is given."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.identities import restore_id
from reconciler.desired.resolve import Resolution, resolve
from reconciler.desired.state import Desired, MacAddresses, NetworkChoice
from reconciler.ids import PoolName, RemoteName, RestoreName, Stamp
from reconciler.sources.documents import parse_file

Resolve = Callable[..., Resolution]
DRILL = RestoreName("drill")
RESTORE = """
apiVersion: backup.reconciler.io/v1alpha1
kind: Restore
metadata: {name: drill}
spec:
  source: {vm: {name: erp-db}}
  target: {poolRef: {name: lab}}
"""
ALL_OF_IT = """
apiVersion: backup.reconciler.io/v1alpha1
kind: Restore
metadata: {name: drill}
spec:
  source:
    vm: {uuid: 6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31}
    point: 20260131T020000Z
    remoteRef: {name: cellar}
  target:
    poolRef: {name: lab}
    sr: {name: scratch}
    networks: [{from: LAN, to: test}, {from: "*", to: isolated}]
    mac: New
    name: erp-db-drill
    start: true
  suspend: true
"""


def messages(desired: Desired) -> list[str]:
    return [f"{problem.object}: {problem.message}" for problem in desired.problems]


def test_the_least_there_can_be(resolved: Resolve, pool: str) -> None:
    desired = resolved(a=pool, b=RESTORE).desired
    assert messages(desired) == []
    drill = desired.restores[DRILL]
    assert (drill.vm, drill.stamp, drill.remote) == ("erp-db", None, None)
    assert (drill.pool, drill.sr, drill.start) == (PoolName("lab"), None, False)
    assert drill.mac is MacAddresses.KEEP


def test_all_that_can_be_said(resolved: Resolve, pool: str, remote: str) -> None:
    drill = resolved(a=pool, b=remote, c=ALL_OF_IT).desired.restores[DRILL]
    assert drill.vm == "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"
    assert drill.stamp == Stamp("20260131T020000Z")
    assert drill.remote == RemoteName("cellar")
    assert drill.networks == (NetworkChoice("LAN", "test"), NetworkChoice("*", "isolated"))
    assert drill.mac is MacAddresses.NEW
    assert (drill.sr, drill.vm_name, drill.start) == ("scratch", "erp-db-drill", True)
    assert drill.suspend


def test_the_revision_is_of_what_is_restored(resolved: Resolve, pool: str, remote: str) -> None:
    def revision(text: str) -> str:
        return resolved(a=pool, b=remote, c=text).desired.restores[DRILL].revision

    assert revision(ALL_OF_IT) == revision(ALL_OF_IT.replace("suspend: true", "suspend: false"))
    assert revision(ALL_OF_IT) != revision(ALL_OF_IT.replace("start: true", "start: false"))
    assert revision(ALL_OF_IT) != revision(ALL_OF_IT.replace("20260131", "20260130"))


def test_a_restore_that_a_server_keeps_has_the_id_it_was_given_there(pool: str) -> None:
    uid = "0c7f6f5e-3c0b-4d0f-9a43-2f2d6a1f7f10"
    made_at = datetime(2026, 1, 31, 2, tzinfo=UTC)
    files = [parse_file("a.yaml", pool.encode()), parse_file("b.yaml", RESTORE.encode())]
    (document,) = files[1].documents
    kept: Document = replace(document, uid=uid, created_at=made_at)
    desired = resolve([files[0], replace(files[1], documents=(kept,))]).desired
    assert desired.restores[DRILL].id == uid
    assert desired.restores[DRILL].asked_at == made_at
    in_file = resolve(files).desired.restores[DRILL]
    assert in_file.id == restore_id(Identity("Restore", "default", "drill"), "")
    assert in_file.asked_at is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: erp-db", "names: [erp-db]"), "unknown field"),
        (("{name: erp-db}}", "{name: erp-db}, point: newest}"), "must be latest, or a stamp"),
        (
            ("{name: erp-db}}", '{name: erp-db}, point: latest, asOf: "2026-01-31"}'),
            "must be an instant",
        ),
        (
            (
                "{name: erp-db}}",
                '{name: erp-db}, point: 20260131T020000Z, asOf: "2026-01-31T02:00:00Z"}',
            ),
            "asOf beside a point",
        ),
        (("{name: erp-db}}", "{name: erp-db}, remoteRef: {name: attic}}"), "no BackupRemote"),
        (("{name: lab}}", "{name: west}}"), "there is no XenPool"),
        (("{name: lab}}", "{name: lab}, mac: Old}"), "Keep"),
        (("{name: lab}}", "{name: lab}, sr: {}}"), "exactly one of uuid and name"),
    ],
)
def test_mistakes_are_named(
    resolved: Resolve, pool: str, change: tuple[str, str], message: str
) -> None:
    desired = resolved(a=pool, b=RESTORE.replace(*change)).desired
    assert any(message in problem.message for problem in desired.problems), messages(desired)
    assert desired.restores == {}


def test_a_restore_that_was_right_stays_in_force(resolved: Resolve, pool: str) -> None:
    before = resolved(a=pool, b=RESTORE)
    broken = resolved(before.good, a=pool, b=RESTORE.replace("source", "sourcy"))
    assert broken.desired.restores == before.desired.restores
    assert resolved(before.good, a=pool, b=RESTORE.replace("lab", "bal")).desired.restores != {}
    gone = resolved(before.good, a=pool)
    assert gone.desired.restores == {}
    lost = resolved(before.good, b=RESTORE)
    assert lost.desired.restores == {}, "without its pool it cannot be done"
