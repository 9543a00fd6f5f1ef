"""Runs that are cancelled, take too long or stand still, at random moments: they end, leave
nothing, and the next run is right.

Moments are of real time, because bytes move in no other; deadlines are of the stepped clock.
"""

import asyncio
import os
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from estate import PATIENCE_S, Estate, estate, local_yaml, pools_yaml, why_restless

from reconciler.desired.state import Cancellation
from reconciler.executor.transfers import Transfer
from reconciler.ids import JobName, PoolName, RunId, run_id
from reconciler.plan.actions import Sending
from reconciler.status.runs import RunState

START = datetime(2026, 1, 5, 0, 0, 5, tzinfo=UTC)
MOMENTS = int(os.environ.get("ENDING_MOMENTS", "8"))
"""Fifty take some minutes; every run of the tests draws others."""
KINDS = ("cancel", "vm", "run", "stall")
WITHIN_S = 120.0  # what is silent would go on for ever
STALL_S = 3.0
SLOW_BYTES_PER_S = 12 * 1024 * 1024
SILENT_BYTES_PER_S = 64 * 1024
"""At which no block comes within STALL_S."""
JOB_NAME = JobName("endings")

JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: endings}
spec:
  poolRefs: [{name: east}]
  selector: {matchTags: [prod]}
  targets:
    - {remoteRef: {name: cellar}}
    - {remoteRef: {name: attic}}
    - {name: here, srRef: {name: replicas, poolRef: {name: east}}}
  schedules: [{name: daily, cron: "0 3 * * *", retention: {last: 2}}]
  settings:
    timeouts: {perVM: 10m, run: 20m, stall: 3s}
  pruneGuard: {maxPercent: 100}
"""


def set_pace(world: Estate, bytes_per_s: int) -> None:
    world.labs["east"].pool.settings.bandwidth_bytes_per_s = bytes_per_s


async def end_by(world: Estate, kind: str, run: RunId) -> None:
    """Give the word, or let the time pass, that ends what runs."""
    match kind:
        case "cancel":
            cancelled = (*world.desired.value.cancellations, Cancellation(run))
            world.desired.put(replace(world.desired.value, cancellations=cancelled))
        case "vm":
            world.clock.step(timedelta(minutes=11))
        case "run":
            world.clock.step(timedelta(minutes=21))
        case "stall":
            set_pace(world, SILENT_BYTES_PER_S)


def sending(world: Estate) -> list[Transfer]:
    """Actions that send, and are under way."""
    assert world.reconciler is not None
    return [each for each in world.reconciler.transfers() if isinstance(each.action, Sending)]


def is_moving(transfer: Transfer) -> bool:
    """Whether some of its bytes have come, and not all: what has not begun cannot stall."""
    return 0 < transfer.done_bytes < transfer.total_bytes


async def until_moving(world: Estate) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not any(is_moving(each) for each in sending(world)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_ended(world: Estate, kind: str) -> None:
    """Wait until what is to end has, in the pool as well. Fails after WITHIN_S."""
    async with asyncio.timeout(WITHIN_S + (2 * STALL_S if kind == "stall" else 0)):
        while any(kind != "stall" or is_moving(each) for each in sending(world)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while world.labs["east"].transfers.open and not sending(world):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def left_over(world: Estate, half_made: str) -> list[str]:
    """Partial files and locks on the remotes, half-made things on the pool: what is called so."""
    names = [
        str(path.relative_to(world.directory))
        for remote in ("cellar", "attic")
        for path in (world.directory / remote).rglob("*")
        if path.name.endswith((".partial", ".merging", ".lock"))
    ]
    east = world.labs["east"]
    labels = [row.text("name_label") for row in east.pool.database.rows("VM")]
    return names + [label for label in labels if half_made in label or "in-progress" in label]


async def check_newest(world: Estate) -> None:
    assert world.reconciler is not None
    report = world.reconciler.report.value
    assert report is not None
    newest = world.clock.now() - timedelta(hours=1)
    for remote, points in world.points(report).items():
        assert points[-1].taken_at > newest, why_restless(report)
        await world.check_point(remote, points[-1])
    for name, replicas in world.replicas(report).items():
        assert replicas[-1].taken_at > newest, why_restless(report)
        await world.check_replica(PoolName(name.partition("/")[0]), replicas[-1])


@pytest.mark.slow(seconds=40)
async def test_runs_end_at_any_moment(tmp_path: Path) -> None:
    seed = int(os.environ.get("ENDING_SEED", random.randrange(10**6)))
    print(f"replay with ENDING_SEED={seed}")
    chance = random.Random(seed)
    stalled = 0
    ends = {RunState.CANCELLED: 0, RunState.TIMED_OUT: 0, RunState.SUCCEEDED: 0}
    with estate(tmp_path, START, seed) as world:
        world.add_guest("east", "web", (8, 6))
        documents = [pools_yaml(world), local_yaml(world, "cellar"), local_yaml(world, "attic")]
        text = "---\n".join([*documents, JOB])
        (world.manifests / "all.yaml").write_text(text, encoding="utf-8")
        async with world.operator():
            await world.step_to(START.replace(hour=3))
            for number in range(MOMENTS):
                kind = KINDS[number % len(KINDS)]
                first = number < len(KINDS)  # of its kind: it meets moving bytes for certain
                slot = START.replace(hour=3) + timedelta(days=2 * number + 1)
                run = run_id(JOB_NAME, slot.replace(second=0))
                world.guests_write()
                set_pace(world, SILENT_BYTES_PER_S if first else SLOW_BYTES_PER_S)
                world.remember(slot)
                world.clock.step_to(slot)
                if first:
                    await until_moving(world)
                await asyncio.sleep(chance.random() * 0.8)  # the moment is what is random here
                await end_by(world, kind, run)
                await until_ended(world, kind)
                if not sending(world):
                    silent_since = time.monotonic()
                    await asyncio.sleep(0.1)
                    assert world.labs["east"].transfers.since(silent_since) == ()
                set_pace(world, 0)
                await world.settled(world.clock.now())
                assert left_over(world, "[Importing…]") == []
                ended = await world.run_ended(run)
                assert ended in ends, world.tries_of(run)
                ends[ended] += 1
                stalled += any("no byte moved" in why for *_, why in world.tries_of(run))
                world.guests_write()
                await world.step_to(slot + timedelta(days=1))
                await check_newest(world)
                assert left_over(world, "[Importing…]") == []
    print(ends, f"{stalled} stalled")
    assert stalled > 0
    assert ends[RunState.CANCELLED] > 0
    assert ends[RunState.TIMED_OUT] > 0
