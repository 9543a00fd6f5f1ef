"""Destinations in trouble while the others are well: one that is slow, two that are lost.

Real bytes at real speeds, so that what is read, held in memory and sent is what it is at night.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from estate import MIB, PATIENCE_S, Estate, estate, local_yaml, pools_yaml, s3_yaml, why_restless
from s3_servers import rclone_server

from reconciler.desired.state import Desired
from reconciler.ids import JobName, PoolName, RunId, run_id
from reconciler.lab.transfers import EXPORT, Transfer
from reconciler.plan.actions import Sending
from reconciler.remotes import s3_store
from reconciler.status.report import Report
from reconciler.transfer.fanout import BUFFERS
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

START = datetime(2026, 1, 5, 0, 0, 5, tzinfo=UTC)
JOB_NAME = JobName("trouble")
DISKS = (96, 96)  # MiB, half of it full
SENT = sum(DISKS) * MIB // 2
SMALL_DISKS = (24, 24)
IN_BUFFERS = len(DISKS) * BUFFERS * BLOCK_RECORD
SLACK = 48 * MIB
"""Of memory, for what is no disk's byte: threads, sessions, the lab, which is in this process."""

JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {{name: trouble}}
spec:
  poolRefs: [{{name: east}}]
  selector: {{matchTags: [prod]}}
  targets:
    - {targets}
  schedules: [{{name: daily, cron: "0 3 * * *", retention: {{last: 5}}}}]
  settings: {{slowDestination: {slow}}}
"""


def slot(number: int) -> datetime:
    """The number-th night's, a moment past it."""
    return START.replace(hour=3) + timedelta(days=number)


def run_of(night: datetime) -> RunId:
    return run_id(JOB_NAME, night.replace(second=0))


def check_counts(world: Estate, report: Report, nights: int) -> None:
    """Every destination has a point of each night."""
    held = {**world.points(report), **world.replicas(report)}
    assert {len(points) for points in held.values()} == {nights}, why_restless(report)


async def check_all(world: Estate, report: Report, nights: int) -> None:
    """Every destination has a point of each night, and gives back what the disks held."""
    check_counts(world, report, nights)
    for remote, points in world.points(report).items():
        for point in points:
            await world.check_point(remote, point)
    for name, replicas in world.replicas(report).items():
        for replica in replicas:
            await world.check_replica(PoolName(name.partition("/")[0]), replica)


def write(world: Estate, count: int) -> None:
    """The guest writes so many bytes from the beginning of each disk on."""
    (guest,) = world.guests
    for position in range(len(DISKS)):
        guest.write(position, 0, world.chance.randbytes(count))


def readings(world: Estate, after: int = 0) -> list[Transfer]:
    """All that left the pool: exports of disks, but for the first ones."""
    return [one for one in world.labs["east"].transfers.all if one.kind == EXPORT][after:]


async def until_desired(world: Estate, seen: Callable[[Desired], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for desired in world.desired.follow():
            if seen(desired):
                return


class Peak:
    """growth_bytes: of the process's memory, at its peak within the body."""

    growth_bytes = 0


@contextlib.contextmanager
def peak() -> Iterator[Peak]:
    found = Peak()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = _memory("VmRSS")
    yield found
    found.growth_bytes = _memory("VmHWM") - before


def _memory(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert match is not None
    return int(match[1]) * 1024


# ── one is slow ──────────────────────────────────────────────────────────────────────────────────

PATIENT_RATE = 16 * MIB
IMPATIENT_RATE = 4 * MIB


def describe_slow(world: Estate, slow: str, rate_mib: int) -> None:
    """Write the manifests of a job to two remotes that are fast and one that is held to a rate."""
    limit = f"limits: {{maxRate: {rate_mib}Mi}}\n"
    remotes = [local_yaml(world, "attic"), local_yaml(world, "barn", limit)]
    targets = "\n    - ".join(
        f"{{remoteRef: {{name: {name}}}}}" for name in ("attic", "barn", "cellar")
    )
    parts = [*remotes, local_yaml(world, "cellar"), JOB.format(targets=targets, slow=slow)]
    text = "---\n".join([pools_yaml(world), *parts])
    (world.manifests / "all.yaml").write_text(text, encoding="utf-8")


@pytest.mark.slow(seconds=70)
async def test_the_slowest_sets_the_pace_until_the_job_says_otherwise(tmp_path: Path) -> None:
    with estate(tmp_path, START, seed=5) as world:
        world.add_guest("east", "web", DISKS)
        describe_slow(world, "{action: Wait}", PATIENT_RATE // MIB)
        async with world.operator():
            await until_desired(world, lambda desired: bool(desired.jobs))
            with peak() as patient:
                report = await world.step_to(slot(0))
            check_counts(world, report, nights=1)
            first = readings(world)
            assert len(first) == len(DISKS), "each disk is read once, for all of them"
            lasted_s = max(one.ended_at for one in first) - min(one.started_at for one in first)
            assert lasted_s > (SENT - IN_BUFFERS) / PATIENT_RATE * 0.9, "at the pace of the slowest"

            describe_slow(world, "{action: Detach, after: 2s}", IMPATIENT_RATE // MIB)
            await until_desired(
                world, lambda desired: desired.jobs[JOB_NAME].settings.detach is not None
            )
            write(world, 7 * BLOCK)
            with peak() as impatient:
                report = await world.step_to(slot(1))
            await check_all(world, report, nights=2)
        check_detached(world, readings(world, len(first)))
    for each in (patient, impatient):
        print(f"memory grew by {each.growth_bytes / MIB:.0f} MiB at its peak")
        assert each.growth_bytes < IN_BUFFERS + SLACK < SENT


def check_detached(world: Estate, second: list[Transfer]) -> None:
    """The slow one was left behind, and caught up with by a reading of its own."""
    *earlier, healing = reversed(
        [
            (place, outcome, why)
            for verb, place, outcome, why in world.tries_of(run_of(slot(1)))
            if verb == "export"
        ]
    )
    assert healing == ("barn", "Succeeded", "")
    outcomes = {place: outcome for place, outcome, _ in earlier}
    assert outcomes == {"attic": "Succeeded", "barn": "Failed", "cellar": "Succeeded"}
    (why,) = [why for place, _, why in earlier if place == "barn"]
    assert "alone held up the others" in why
    for vdi in {one.object for one in second}:
        sent = world.labs["east"].transfers.blocks_sent(vdi, whole=True)
        assert set(sent.values()) == {2}, "once for those that were fast, once for the other"
    assert all(one.base for one in second), "and by its own delta"


# ── two are lost ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow(seconds=30)
async def test_what_is_lost_in_mid_transfer_heals_by_its_own_delta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An S3 server is killed and a pool is cut off, while a directory and an SR go on."""
    monkeypatch.setattr(s3_store, "_RETRY_S", 2)  # how long an outage is ridden out
    with estate(tmp_path, START, seed=6) as world, contextlib.ExitStack() as servers:
        world.add_guest("east", "web", SMALL_DISKS)
        server = servers.enter_context(rclone_server(tmp_path))
        targets = [
            "{remoteRef: {name: cellar}}",
            "{remoteRef: {name: bucket}}",
            "{name: here, srRef: {name: replicas, poolRef: {name: east}}}",
            "{name: there, srRef: {name: recovery, poolRef: {name: west}}}",
        ]
        job = JOB.format(targets="\n    - ".join(targets), slow="{action: Wait}")
        parts = [pools_yaml(world), local_yaml(world, "cellar"), s3_yaml(world, "bucket", server)]
        (world.manifests / "all.yaml").write_text("---\n".join([*parts, job]), encoding="utf-8")
        async with world.operator():
            report = await world.step_to(slot(0))
            check_counts(world, report, nights=1)
            first = len(readings(world))

            write(world, 8 * BLOCK)
            world.labs["east"].pool.settings.bandwidth_bytes_per_s = MIB
            world.remember(slot(1))
            world.clock.step_to(slot(1))
            await until_all_move(world)
            server.process.kill()
            world.served["west"].close()
            world.labs["east"].pool.settings.bandwidth_bytes_per_s = 0
            await until_tried(world)
            done = readings(world, first)

            servers.enter_context(rclone_server(tmp_path, port=port_of(server.endpoint)))
            world.labs["west"].serve(port_of(world.served["west"].url))
            report = await world.settled(world.clock.now())
            await check_all(world, report, nights=2)
        check_healed(world, done, readings(world, first + len(done)))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def until_all_move(world: Estate) -> None:
    """Wait until a block of each of the four went by, and more are to come."""
    assert world.reconciler is not None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            sent = [one for one in world.reconciler.transfers() if isinstance(one.action, Sending)]
            if len(sent) == 4 and all(BLOCK < one.done_bytes < one.total_bytes for one in sent):
                return
            await asyncio.sleep(0.01)


async def until_tried(world: Estate) -> None:
    """Wait until all four have ended: those that were lost have failed, the others stand."""
    ended: dict[str, set[str]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(ended.get("Succeeded", ())) + len(ended.get("Failed", ())) < 4:
            await asyncio.sleep(0.05)
            ended = {}
            for verb, place, outcome, _ in world.tries_of(run_of(slot(1))):
                if verb != "snapshot":
                    ended.setdefault(outcome, set()).add(place.partition("/")[0])
    assert ended == {
        "Failed": {"bucket", "west:recovery"},
        "Succeeded": {"cellar", "east:replicas"},
    }


def check_healed(world: Estate, done: list[Transfer], healing: list[Transfer]) -> None:
    assert all(one.base for one in (*done, *healing)), "nobody needed a full"
    well = [one for one in done if one.whole and one.blocks]
    assert len(well) == len({one.object for one in well}) == len(DISKS), "what is well reads once"
    assert {one.object for one in healing if one.blocks} == {one.object for one in well}
