"""The demonstration's world: a lab, manifests, and a reconciler whose clock steps by days.

Everything is real but the pool and the clock: disks, streams, files, snapshots, merges. What a disk
held when it was snapshotted is remembered as a digest, and compared with what is restored.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler.assembly import Reconciler
from reconciler.cli.exits import Failure
from reconciler.cli.loading import reveal
from reconciler.clock import SteppedClock
from reconciler.desired.state import Desired
from reconciler.ids import PoolName, RemoteName, Stamp, VmUuid
from reconciler.lab.lab import Lab
from reconciler.latest import Latest
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.plan.actions import id_of
from reconciler.sources.files import ManifestFiles
from reconciler.status.report import Report
from reconciler.xapi.client import XapiClient

MIB = 1024 * 1024
POOL = PoolName("lab")
REMOTE = RemoteName("cellar")
_PATIENCE_S = 60.0
_PIECE = 4 * MIB

MANIFESTS = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec:
  urls: ["{url}"]
  username: {user}
  passwordFrom: {{file: "{password_file}"}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec:
  local: {{path: "{remote}"}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {{name: nightly}}
spec:
  poolRefs: [{{name: lab}}]
  selector: {{matchTags: [prod]}}
  mode: Incremental
  targets: [{{remoteRef: {{name: cellar}}}}]
  schedules:
    - name: night
      cron: "0 2 * * *"
      timeZone: UTC
      retention: {{last: 3}}
"""


@dataclass
class World:
    """The lab, the remote, and the reconciler between them. sizes_mib: of the VM's disks."""

    directory: Path
    lab: Lab
    clock: SteppedClock
    desired: Latest[Desired]
    reconciler: Reconciler
    disks: tuple[str, ...] = ()
    digests: dict[Stamp, dict[str, str]] = field(default_factory=dict)

    @property
    def remote(self) -> Path:
        return self.directory / "remote"

    async def step_to(self, instant: datetime) -> Report:
        """Let time pass, and wait until nothing is left to do. Raises Failure."""
        contents = await asyncio.to_thread(self._digests)
        known = {point.stamp for point in self.points()}
        self.clock.step_to(instant)
        report = await self.settled(instant)
        for point in self.points():
            if point.stamp not in known:
                self.digests[point.stamp] = contents
        return report

    async def settled(self, since: datetime) -> Report:
        """Wait for a plan made after `since` that has nothing to do. Raises Failure."""
        report: Report | None = None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async for report in self.reconciler.report.follow():
                    if report is not None and _is_settled(report, since):
                        return report
        except TimeoutError:
            pass
        raise Failure(
            f"the plan did not come to rest within {_PATIENCE_S:.0f} s",
            subject="demonstration",
            hint=_why_restless(report),
        )

    def points(self) -> list[RestorePoint]:
        """The restore points on the remote, oldest first, as last seen."""
        report = self.reconciler.report.value
        view = report.observed.remotes.get(REMOTE) if report is not None else None
        if not isinstance(view, RemoteView):
            return []
        return [
            point
            for history in view.histories.values()
            if isinstance(history, History)
            for point in history.points
        ]

    def client(self) -> XapiClient:
        """Somebody else's session with the pool."""
        pool = self.desired.value.pools[POOL]
        return XapiClient(pool.urls, pool.username, lambda: reveal(pool.password))

    def vm(self) -> VmUuid:
        return self.points()[0].vm

    def _digests(self) -> dict[str, str]:
        return {uuid: self.digest_of_vdi(uuid) for uuid in self.disks}

    def digest_of_vdi(self, uuid: str) -> str:
        """SHA-256 of all of a disk's bytes, by the lab's own reading."""
        digest = hashlib.sha256()
        size = self.lab.pool.database.by_uuid("VDI", uuid).number("virtual_size")
        for offset in range(0, size, _PIECE):
            digest.update(self.lab.read_vdi(uuid, offset, min(_PIECE, size - offset)))
        return digest.hexdigest()

    def fingerprint_of_remote(self) -> dict[str, tuple[int, int]]:
        """Inode and modification time of everything on the remote."""
        return {
            str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
            for path in sorted(self.remote.rglob("*"))
        }


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_image(path: Path, size_mib: int, filled_mib: int) -> None:
    """Make a sparse raw image with incompressible bytes in two places."""
    with path.open("wb") as file:
        file.truncate(size_mib * MIB)
        file.write(os.urandom(filled_mib * MIB // 2))
        file.seek(size_mib * MIB // 2)
        file.write(os.urandom(filled_mib * MIB // 2))


@contextlib.asynccontextmanager
async def open_world(directory: Path, monday: datetime) -> AsyncIterator[World]:
    """Set up lab, VM and manifests in a directory, and run a reconciler on them."""
    manifests = directory / "manifests"
    for made in (manifests, directory / "remote", directory / "restored"):
        made.mkdir()
    with Lab.open(str(directory / "lab")) as lab, lab.serve() as served:
        images = [directory / "root.raw", directory / "data.raw"]
        write_image(images[0], 512, 192)
        write_image(images[1], 128, 32)
        await asyncio.to_thread(lab.import_vm, "web", list(map(str, images)), tags=["prod"])
        (manifests / "password").write_text(served.password, encoding="utf-8")
        (manifests / "all.yaml").write_text(
            MANIFESTS.format(
                url=served.url,
                user=served.user,
                password_file=manifests / "password",
                remote=directory / "remote",
            ),
            encoding="utf-8",
        )
        files = ManifestFiles([str(manifests)])
        desired = Latest(Desired())
        clock = SteppedClock(monday)
        world = World(directory, lab, clock, desired, Reconciler(desired, clock, reveal))
        world.disks = tuple(lab.disk("web", position).text("uuid") for position in (0, 1))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(files.publish(desired)),
                group.create_task(world.reconciler.run()),
            ]
            try:
                yield world
            finally:
                for task in tasks:
                    task.cancel()


def _is_settled(report: Report, since: datetime) -> bool:
    observed = report.observed
    return (
        report.at >= since
        and isinstance(observed.remotes.get(REMOTE), RemoteView)
        and isinstance(observed.pools.get(POOL), PoolView)
        and not report.plan.actions
        and not observed.progress.running
    )


def _why_restless(report: Report | None) -> str:
    if report is None:
        return "nothing was seen"
    failed = [
        f"{id_}: {attempt.reason}: {attempt.why}"
        for id_, attempt in report.observed.progress.ended.items()
        if not attempt.succeeded
    ]
    held = [f"{each.subject}: {each.reason}: {each.why}" for each in report.plan.held]
    planned = [id_of(action) for action in report.plan.actions]
    return "; ".join([report.sentence, *planned, *failed, *held])
