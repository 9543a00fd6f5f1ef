"""One job, five destinations of four kinds, three schedules: sixty days, and every byte of them."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from estate import Estate, bucket_yaml, estate, local_yaml, pools_yaml

from reconciler.ids import PoolName, Stamp, VmUuid
from reconciler.observed.proof import ProofLevel
from reconciler.status.report import Report

START = datetime(2026, 1, 5, 0, 0, 5, tzinfo=UTC)  # a Monday
DAYS = int(os.environ.get("EVERYWHERE_DAYS", "60"))

JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: everywhere}
spec:
  poolRefs: [{name: east}]
  selector: {matchTags: [prod]}
  targets:
    - {name: cellar, remoteRef: {name: cellar}}
    - {name: attic, remoteRef: {name: attic}}
    - {name: bucket, remoteRef: {name: bucket}}
    - {name: here, srRef: {name: replicas, poolRef: {name: east}}}
    - {name: there, srRef: {name: recovery, poolRef: {name: west}}}
  schedules:
    - name: daily
      cron: "0 3 * * *"
      targets: [cellar, attic, here]
      retention: {last: 5}
    - name: weekly
      cron: "0 6 * * 0"
      targets: [cellar, bucket, there]
      retention: {weekly: 4}
    - name: monthly
      cron: "0 1 * * 5#1"
      retention: {last: 1, monthly: 12, bucketKeeps: Oldest}
  pruneGuard: {maxPercent: 100}
  verification: {maxAge: 20d}
"""


def slots(day: datetime) -> list[datetime]:
    """The slots of a day, each a moment past it."""
    hours = [3]
    if day.weekday() == 6:
        hours.append(6)
    if day.weekday() == 4 and day.day <= 7:
        hours.insert(0, 1)
    return [day.replace(hour=hour) for hour in hours]


@pytest.mark.slow(seconds=300)
async def test_sixty_days(tmp_path: Path) -> None:
    with estate(tmp_path, START, seed=60) as world, bucket_yaml(world, "bucket") as bucket:
        world.add_guest("east", "web", (12, 8))
        world.add_guest("east", "db", (16, 6))
        world.add_guest("east", "mail", (8,))
        remotes = [local_yaml(world, "cellar"), local_yaml(world, "attic"), bucket]
        parts = [pools_yaml(world), *remotes, JOB]
        (world.manifests / "all.yaml").write_text("---\n".join(parts), encoding="utf-8")
        async with world.operator():
            for number in range(DAYS):
                for slot in slots(START + timedelta(days=number)):
                    world.guests_write()
                    report = await world.step_to(slot)
                    check_one_snapshot(world, report, slot)
                    assert report.plan.held == (), report.plan.held
            await check(world)
        # A second operator finds nothing to do.
        before = world.labs["east"].changes, world.labs["west"].changes
        async with world.operator():
            await world.settled(world.clock.now())
        assert (world.labs["east"].changes, world.labs["west"].changes) == before


async def check(world: Estate) -> None:
    assert world.reconciler is not None
    report = world.reconciler.report.value
    assert report is not None
    points = world.points(report)
    replicas = world.replicas(report)
    guests = len(world.guests)
    counts = {name: len(found) // guests for name, found in points.items()}
    kept = {name: len(found) // guests for name, found in replicas.items()}
    # Daily keeps 5 where it goes and weekly 4; the one first Friday is kept everywhere.
    assert counts == {"cellar": 5 + 4 + 1, "attic": 5 + 1, "bucket": 4 + 1}
    assert kept == {"east/replicas": 5 + 1, "west/recovery": 4 + 1}
    check_proofs(report)
    for remote, found in points.items():
        for point in found:
            await world.check_point(remote, point)
    for name, copies in replicas.items():
        for replica in copies:
            await world.check_replica(PoolName(name.partition("/")[0]), replica)
    check_reads(world)


def check_one_snapshot(world: Estate, report: Report, since: datetime) -> None:
    """All that a run made of a VM is of one snapshot, wherever it lies."""
    made: dict[VmUuid, set[Stamp]] = {}
    for found in (*world.points(report).values(), *world.replicas(report).values()):
        for point in found:
            if point.taken_at >= since.replace(microsecond=0):
                made.setdefault(point.vm, set()).add(point.stamp)
    assert {vm: len(stamps) for vm, stamps in made.items()} == {
        guest.uuid: 1 for guest in world.guests
    }


def check_proofs(report: Report) -> None:
    """After all that was merged, each remote was found to hold what had been sent."""
    (standing,) = report.standings
    for vm in standing.vms:
        assert vm.is_proven
        proofs = {remote: proof.level for remote, proof in vm.proofs}
        assert proofs == dict.fromkeys(("cellar", "attic", "bucket"), ProofLevel.CHECKSUM)


def check_reads(world: Estate) -> None:
    """Each block of each snapshot was read once at most, however many places it went to."""
    east = world.labs["east"]
    snapshots = {each.object for each in east.transfers.all}
    assert snapshots
    for vdi in snapshots:
        assert set(east.transfers.blocks_sent(vdi).values()) <= {1}
