"""Two labs, remotes of several kinds, SRs, and a reconciler between them, on a stepped clock.

All in one process, so that a simulated month takes a minute. What each disk holds is remembered
block by block at each instant at which a backup may be taken, from bytes of our own; what a point
gives back is compared with that.
"""

import asyncio
import contextlib
import hashlib
import random
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from operate import is_unsure
from s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, moto_server

from reconciler.assembly import Reconciler
from reconciler.clock import SteppedClock
from reconciler.desired.state import Desired
from reconciler.executor.records import read_tries
from reconciler.executor.run_records import read_runs
from reconciler.executor.steps import restore_disk
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import DiskUuid, PoolName, RemoteName, RunId, Stamp, VmUuid, instant_of
from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import Settings
from reconciler.latest import Latest
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Place
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaState
from reconciler.observed.state import Observed
from reconciler.plan.actions import id_of
from reconciler.plan.admit import as_of_place
from reconciler.plan.restore_actions import RestoreDisk
from reconciler.sources.files import ManifestFiles
from reconciler.sources.secrets import read_secret
from reconciler.status.report import Report
from reconciler.status.runs import RunState

MIB = 1024 * 1024
BLOCK = 2 * MIB
PATIENCE_S = 120.0
IMPATIENT_S = 0.5
"""After which waiting for the next try is cut short by the clock, if nothing is under way."""

Blocks = tuple[str, ...]
"""Digests of a disk's blocks of 2 MiB."""


@dataclass
class Guest:
    """A VM's disks, as bytes of our own."""

    lab: Lab
    name: str
    uuid: VmUuid
    disks: dict[DiskUuid, bytearray]

    def write(self, position: int, offset: int, content: bytes) -> None:
        self.lab.write_disk(self.name, position, offset, content)
        list(self.disks.values())[position][offset : offset + len(content)] = content

    def blocks(self) -> dict[DiskUuid, Blocks]:
        return {uuid: blocks_of(content) for uuid, content in self.disks.items()}


def blocks_of(content: bytes | bytearray) -> Blocks:
    return tuple(
        hashlib.blake2b(content[start : start + BLOCK], digest_size=12).hexdigest()
        for start in range(0, len(content), BLOCK)
    )


@dataclass
class Estate:
    """The world of one test. history: what each VM held from an instant on, oldest first."""

    directory: Path
    labs: dict[str, Lab]
    served: dict[str, Served]
    clock: SteppedClock
    chance: random.Random
    guests: list[Guest] = field(default_factory=list)
    history: list[tuple[datetime, dict[VmUuid, dict[DiskUuid, Blocks]]]] = field(
        default_factory=list
    )
    desired: Latest[Desired] = field(default_factory=lambda: Latest(Desired()))
    reconciler: Reconciler | None = None

    @property
    def manifests(self) -> Path:
        return self.directory / "manifests"

    # ── guests ──

    def add_guest(self, lab: str, name: str, sizes_mib: tuple[int, ...]) -> Guest:
        """A running VM, half of each disk full."""
        images = []
        contents = []
        for number, size_mib in enumerate(sizes_mib):
            content = bytearray(size_mib * MIB)
            for start in range(0, len(content), 2 * BLOCK):
                content[start : start + BLOCK] = self.chance.randbytes(BLOCK)
            path = self.directory / f"{name}-{number}.raw"
            path.write_bytes(content)
            images.append(str(path))
            contents.append(content)
        self.labs[lab].import_vm(name, images, tags=["prod"])
        self.labs[lab].power(name, "Running")
        uuids = [
            DiskUuid(self.labs[lab].disk(name, number).text("uuid"))
            for number in range(len(sizes_mib))
        ]
        found = self.labs[lab].call("VM.get_by_name_label", name)
        assert isinstance(found, list)
        uuid = VmUuid(str(self.labs[lab].call("VM.get_uuid", found[0])))
        guest = Guest(self.labs[lab], name, uuid, dict(zip(uuids, contents, strict=True)))
        self.guests.append(guest)
        return guest

    def guests_write(self) -> None:
        """What a day does to disks: some bytes here and there, sometimes zeros."""
        for guest in self.guests:
            for position, content in enumerate(guest.disks.values()):
                for _ in range(self.chance.randrange(1, 3)):
                    offset = self.chance.randrange(len(content) // 4096) * 4096
                    count = min(self.chance.choice((4096, 65536, MIB)), len(content) - offset)
                    fresh = self.chance.random() < 0.9
                    guest.write(
                        position, offset, self.chance.randbytes(count) if fresh else bytes(count)
                    )

    def truth_at(self, vm: VmUuid, stamp: Stamp) -> dict[DiskUuid, Blocks]:
        """What a VM held when a point of it was taken."""
        held = [world[vm] for since, world in self.history if since <= instant_of(stamp)]
        return held[-1]

    # ── time ──

    @contextlib.asynccontextmanager
    async def operator(self) -> AsyncIterator[Reconciler]:
        """Run a reconciler on the manifests as they are."""
        self.desired = Latest(Desired())
        reveal = lambda ref: read_secret(ref).reveal()  # noqa: E731
        reconciler = self.reconciler = Reconciler(
            self.desired, self.clock, reveal, records=self.history_file
        )
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ManifestFiles([str(self.manifests)]).publish(self.desired)),
                group.create_task(reconciler.run()),
            ]
            try:
                yield reconciler
            finally:
                for task in tasks:
                    task.cancel()

    def remember(self, instant: datetime) -> None:
        """Note what the guests' disks hold when a backup is taken at this instant."""
        self.history.append((instant - timedelta(minutes=1), self._contents()))

    async def step_to(self, instant: datetime) -> Report:
        """Let time pass, and wait until nothing is left to do."""
        self.remember(instant)
        self.clock.step_to(instant)
        return await self.settled(instant)

    def _contents(self) -> dict[VmUuid, dict[DiskUuid, Blocks]]:
        return {guest.uuid: guest.blocks() for guest in self.guests}

    async def settled(self, since: datetime) -> Report:
        assert self.reconciler is not None
        report: Report | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(IMPATIENT_S):
                            async for report in self.reconciler.report.follow():
                                if report is not None and is_settled(report, since):
                                    return report
                    if not self.reconciler.transfers():
                        self.clock.step(timedelta(seconds=60))
        except TimeoutError:
            raise AssertionError(why_restless(report)) from None

    # ── what is there ──

    async def run_ended(self, run: RunId) -> RunState:
        """Wait until a run is noted as over; return how it ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rows = await asyncio.to_thread(read_runs, self.history_file, None)
                for row in rows:
                    if row.id == run and row.closed_at is not None:
                        return row.state
                await asyncio.sleep(0.05)

    def tries_of(self, run: RunId) -> list[tuple[str, str, str, str]]:
        """What was tried for a run, newest first: verb, place, outcome, why."""
        tries = read_tries(self.history_file, None)
        return [
            (each.verb, each.place, each.outcome, each.why) for each in tries if each.run == run
        ]

    @property
    def history_file(self) -> Path:
        return self.directory / "history.sqlite"

    def points(self, report: Report) -> dict[RemoteName, list[RestorePoint]]:
        return {
            name: [
                point
                for history in view.histories.values()
                if isinstance(history, History)
                for point in history.points
            ]
            for name, view in report.observed.remotes.items()
            if isinstance(view, RemoteView)
        }

    def replicas(self, report: Report) -> dict[str, list[Replica]]:
        found: dict[str, list[Replica]] = {}
        for name, view in report.observed.pools.items():
            if isinstance(view, PoolView):
                for replica in view.replicas:
                    assert replica.state is ReplicaState.WHOLE, replica
                    found.setdefault(f"{name}/{view.srs[replica.sr].name}", []).append(replica)
        return found

    async def check_point(self, remote: RemoteName, point: RestorePoint) -> None:
        """Restore every disk of a point, and compare it block by block."""
        assert self.reconciler is not None
        truth = self.truth_at(point.vm, point.stamp)
        assert {disk.disk for disk in point.disks} == truth.keys()
        for disk in point.disks:
            output = self.directory / "restored.raw"
            action = RestoreDisk(
                remote, point.vm, point.vm_name, point.stamp, disk.disk, str(output), "raw",
                self.clock.now(),
            )  # fmt: skip
            gauge = Gauge(action, self.clock.now())
            connections = self.reconciler.connections
            tools = Tools(self.clock, gauge, connections.pool, connections.remote, _no_slot)
            await restore_disk.run(action, tools)
            restored = await asyncio.to_thread(output.read_bytes)
            output.unlink()
            assert blocks_of(restored) == truth[disk.disk], (remote, point.stamp, disk)

    async def check_replica(self, pool: PoolName, replica: Replica) -> None:
        truth = self.truth_at(replica.vm, replica.stamp)
        assert {disk.disk for disk in replica.disks} == truth.keys()
        for disk in replica.disks:
            assert disk.disk is not None
            size = len(truth[disk.disk]) * BLOCK
            held = await asyncio.to_thread(self.labs[pool].read_vdi, disk.uuid, 0, size)
            assert blocks_of(held) == truth[disk.disk], (pool, replica.stamp, disk)


def _no_slot(_pool: PoolName) -> contextlib.AbstractAsyncContextManager[object]:
    return contextlib.nullcontext()


def is_settled(report: Report, since: datetime) -> bool:
    observed = report.observed
    views = [*observed.pools.values(), *observed.remotes.values()]
    return (
        report.at >= since
        and bool(report.desired.jobs)
        and report.is_whole
        and all(isinstance(view, PoolView | RemoteView) for view in views)
        and not any(is_unsure(view) for view in views)
        and all(is_seen(place, at, observed) for place, at in observed.progress.touched.items())
        and not report.plan.actions
        and not observed.progress.running
    )


def is_seen(place: Place, touched_at: datetime, observed: Observed) -> bool:
    """Whether a place was looked at since our own hands changed it."""
    as_of = as_of_place(place, observed)
    return as_of is not None and as_of > touched_at


def why_restless(report: Report | None) -> str:
    if report is None:
        return "nothing was seen"
    failed = [
        f"{id_}: {attempt.reason}: {attempt.why}"
        for id_, attempt in report.observed.progress.ended.items()
        if not attempt.succeeded
    ]
    held = [f"{each.subject}: {each.reason}: {each.why}" for each in report.plan.held]
    planned = [id_of(action) for action in report.plan.actions]
    problems = [f"{each.line}: {each.message}" for each in report.desired.problems]
    return "\n".join([report.sentence, *planned, *failed, *held, *problems])


@contextlib.contextmanager
def estate(directory: Path, start: datetime, seed: int, **settings: object) -> Iterator[Estate]:
    """Two labs, `east` with VMs and an SR "replicas", `west` with an SR "recovery"."""
    quick = {"login_failure_delay_s": 0.0, "coalesce_delay_s": 0.05, "guest_boot_s": 0.0}
    with contextlib.ExitStack() as stack:
        labs = {}
        for name in ("east", "west"):
            options = Settings(**{**quick, **settings})  # type: ignore[arg-type]
            labs[name] = stack.enter_context(Lab.open(str(directory / name), settings=options))
        labs["east"].add_sr("replicas")
        labs["west"].add_sr("recovery")
        served = {name: stack.enter_context(lab.serve()) for name, lab in labs.items()}
        made = Estate(directory, labs, served, SteppedClock(start), random.Random(seed))
        made.manifests.mkdir()
        for name, each in served.items():
            (made.manifests / f"{name}.password").write_text(each.password, encoding="utf-8")
        yield made


def pools_yaml(made: Estate) -> str:
    return "---\n".join(
        textwrap.dedent(f"""\
        apiVersion: backup.reconciler.io/v1alpha1
        kind: XenPool
        metadata: {{name: {name}}}
        spec:
          urls: ["{each.url}"]
          username: {each.user}
          passwordFrom: {{file: "{made.manifests / f"{name}.password"}"}}
        """)
        for name, each in made.served.items()
    )


def local_yaml(made: Estate, name: str, extra: str = "") -> str:
    path = made.directory / name
    path.mkdir(exist_ok=True)
    return textwrap.dedent(f"""\
        apiVersion: backup.reconciler.io/v1alpha1
        kind: BackupRemote
        metadata: {{name: {name}}}
        spec:
          local: {{path: "{path}"}}
        """) + textwrap.indent(extra, "  ")


@contextlib.contextmanager
def bucket_yaml(made: Estate, name: str) -> Iterator[str]:
    """A bucket on an S3 server of this process."""
    with moto_server(made.directory) as server:
        yield s3_yaml(made, name, server)


def s3_yaml(made: Estate, name: str, server: S3Server) -> str:
    for file, secret in (("access", ACCESS_KEY), ("secret", SECRET_KEY)):
        (made.manifests / file).write_text(secret, encoding="utf-8")
    return textwrap.dedent(f"""\
        apiVersion: backup.reconciler.io/v1alpha1
        kind: BackupRemote
        metadata: {{name: {name}}}
        spec:
          s3:
            endpoint: "{server.endpoint}"
            bucket: {BUCKET}
            accessKeyFrom: {{file: "{made.manifests / "access"}"}}
            secretKeyFrom: {{file: "{made.manifests / "secret"}"}}
        """)
