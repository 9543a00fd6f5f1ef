"""A whole reconciler on the lab, with one job to several directories, and how it stands."""

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.assembly import Reconciler
from reconciler.catalog.chains import chain_keys
from reconciler.catalog.read import read_vm
from reconciler.clock import SteppedClock
from reconciler.desired.state import Desired
from reconciler.ids import RemoteName, VmUuid
from reconciler.lab.lab import Lab
from reconciler.latest import Latest
from reconciler.sources.files import ManifestFiles
from reconciler.sources.secrets import read_secret
from reconciler.status.report import Report
from reconciler.transfer.restore import open_chain, write_raw

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
NAMES = ("attic", "barn", "cellar")
MIB = 1 << 20
DISK_BYTES = 16 * MIB


class Party:
    """A reconciler with one job to several remotes, and how it stands."""

    def __init__(self, reconciler: Reconciler, clock: SteppedClock) -> None:
        self.reconciler = reconciler
        self.clock = clock

    async def until(self, seen: Callable[[Report], bool]) -> Report:
        async with asyncio.timeout(60):
            async for report in self.reconciler.report.follow():
                if report is None:
                    continue
                assert not report.desired.problems
                if seen(report):
                    return report
        raise AssertionError

    async def until_moving(self, verb: str, count: int) -> None:
        """Wait until so many bytes of each of three actions went by."""
        async with asyncio.timeout(60):
            while True:
                moving = [one for one in self.reconciler.transfers() if one.action.verb == verb]
                if len(moving) == len(NAMES) and all(one.done_bytes > count for one in moving):
                    return
                await asyncio.sleep(0.01)

    async def restored(self, name: str, vm: str, output: Path) -> set[bytes]:
        """The contents of all disks of the only point on a remote."""
        remote = await self.reconciler.connections.remote(RemoteName(name))
        (point,) = (await read_vm(remote, VmUuid(vm), self.clock.now())).points
        contents = set()
        for disk in point.disks:
            keys = await chain_keys(remote, VmUuid(vm), point.stamp, disk.disk)
            path = output / f"{name}-{disk.disk}.raw"
            async with open_chain(remote, keys) as reader:
                await write_raw(reader, str(path))
            contents.add(path.read_bytes())
        return contents


def with_point(report: Report) -> set[str]:
    """The remotes that have a point."""
    return {
        view.name
        for view in report.observed.remotes.values()
        if any(getattr(one, "points", ()) for one in getattr(view, "histories", {}).values())
    }


def failures(report: Report) -> set[str]:
    """Why something failed."""
    ended = report.observed.progress.ended.values()
    return {str(attempt.reason) for attempt in ended if not attempt.succeeded}


def vm_of(lab: Lab) -> str:
    """The uuid of the lab's VM."""
    (found,) = [
        row.text("uuid")
        for row in lab.pool.database.rows("VM")
        if row.text("name_label") == "web" and not row.flag("is_a_snapshot")
    ]
    return found


def contents_of(lab: Lab) -> set[bytes]:
    """What its two disks hold."""
    return {lab.read_disk("web", position, 0, DISK_BYTES) for position in (0, 1)}


@contextlib.asynccontextmanager
async def running(
    served,
    directory: Path,
    names: Sequence[str] = NAMES,
    clock: SteppedClock | None = None,
    **options: Any,
) -> AsyncIterator[Party]:
    """options: the reconciler's. Begun again on the same directory, it goes on there."""
    manifests = directory / "manifests"
    manifests.mkdir(exist_ok=True)
    (manifests / "password").write_text(served.password)
    remotes = [
        f"""\
        ---
        apiVersion: backup.reconciler.io/v1alpha1
        kind: BackupRemote
        metadata: {{name: {name}}}
        spec: {{local: {{path: "{directory / name}"}}}}
        """
        for name in names
    ]
    for name in names:
        (directory / name).mkdir(exist_ok=True)
    targets = ", ".join(f"{{remoteRef: {{name: {name}}}}}" for name in names)
    pool = f"""\
        apiVersion: backup.reconciler.io/v1alpha1
        kind: XenPool
        metadata: {{name: lab}}
        spec:
          urls: ["{served.url}"]
          username: {served.user}
          passwordFrom: {{file: "{manifests / "password"}"}}
        """
    job = f"""\
        ---
        apiVersion: backup.reconciler.io/v1alpha1
        kind: BackupJob
        metadata: {{name: nightly}}
        spec:
          poolRefs: [{{name: lab}}]
          selector: {{matchTags: [prod]}}
          targets: [{targets}]
          runOnCreate: true
          schedules: [{{name: night, cron: "0 2 * * *", timeZone: UTC, retention: {{last: 3}}}}]
        """
    text = "".join(textwrap.dedent(part) for part in (pool, *remotes, job))
    (manifests / "world.yaml").write_text(text)
    clock, desired = clock or SteppedClock(NOW), Latest(Desired())
    reconciler = Reconciler(desired, clock, lambda ref: read_secret(ref).reveal(), **options)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ManifestFiles([str(manifests)]).publish(desired)),
            group.create_task(reconciler.run()),
        ]
        yield Party(reconciler, clock)
        for task in tasks:
            task.cancel()
