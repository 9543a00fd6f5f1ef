"""`reconciler demo`: the main job end to end on a simulated pool, in a temporary directory.

Each step says what it did; each proof is checked, and a proof that fails fails the command.
"""

import asyncio
import logging
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer

from reconciler.cli.demo_world import MIB, REMOTE, World, digest_of_file, open_world
from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.foreground import run_to_end
from reconciler.cli.messages import say
from reconciler.cli.restoring import carry
from reconciler.desired.state import Desired
from reconciler.ids import PoolName
from reconciler.observed.chain import DiskFile, History
from reconciler.observed.remote import RemoteView
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.units import render_size

_MONDAY = datetime(2026, 1, 5, 1, 30, tzinfo=UTC)
_NIGHT = datetime(2026, 1, 5, 2, 0, 5, tzinfo=UTC)


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the directory, to look around in.")] = False,
    log: Annotated[Path | None, typer.Option(help="Write the reconciler's log there.")] = None,
) -> None:
    """Run the main job on a simulated pool with real disks: about a minute."""
    level = logging.ERROR if log is None else logging.DEBUG
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(None if log is None else log.open("w")),
    )
    directory = Path(tempfile.mkdtemp(prefix="reconciler-demo-"))
    try:
        code = run_to_end(lambda: _tell(directory))
    finally:
        if keep:
            say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    raise typer.Exit(code)


async def _tell(directory: Path) -> ExitCode:
    began = time.monotonic()
    say(f"A pool in a box, a remote and three manifests in {directory}\n")
    async with open_world(directory, _MONDAY) as world:
        story = _Story(world)
        await story.first_full()
        await story.deltas_and_retention()
        await story.lost_reference()
        await story.nothing_to_do()
        await story.restore_every_point()
        await story.restore_as_new_vm()
    say(f"\nProved in {time.monotonic() - began:.0f} s:", "good")
    for proof in story.proofs:
        say(f"  ✓ {proof}", "good")
    return ExitCode.OK


class _Story:
    """The steps, in their order; each adds what it proved."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.proofs: list[str] = []

    async def first_full(self) -> None:
        await self._world.settled(_MONDAY)
        say("Monday     the job is applied; nothing starts before its slot")
        await self._night(0, "Monday")
        (point,) = self._world.points()
        say(f"           first full: {len(point.disks)} disks, {render_size(point.size_bytes)}")
        self._expect(point.size_bytes > 192 * MIB, "the first point holds the disks' data")

    async def deltas_and_retention(self) -> None:
        for day, name in enumerate(("Tuesday", "Wednesday", "Thursday", "Friday"), 1):
            await self._guest_writes(24)
            await self._night(day, name)
            newest = self._world.points()[-1]
            count = len(self._world.points())
            say(f"           delta: {render_size(newest.size_bytes)}; {count} points are kept")
        files = self._files()
        fulls = [file for file in files if file.parent is None]
        self._expect(len(self._world.points()) == 3, "retention keeps the last three points")
        self._expect(
            len(fulls) == 2 and len(files) == 6,
            "what was pruned is merged: each disk has one full and two deltas",
        )
        self.proofs.append("retention keeps three points of five; two were merged into the fulls")

    async def lost_reference(self) -> None:
        await self._guest_writes(8)
        await _delete_snapshots(self._world)
        say("Saturday   somebody deletes the reference snapshot")
        await self._night(5, None)
        newest = self._world.points()[-1]
        files = [file for file in self._files() if newest.stamp in file.path]
        self._expect(all(file.parent is None for file in files), "the chain begins anew")
        say(f"           ReferenceSnapshotLost: a new full, {render_size(newest.size_bytes)}")
        self.proofs.append("a lost reference snapshot heals by itself, with a new full")

    async def nothing_to_do(self) -> None:
        before = self._world.fingerprint_of_remote()
        calls = len(self._world.lab.changes)
        self._world.clock.step(timedelta(hours=1))
        await self._world.settled(self._world.clock.now() - timedelta(seconds=1))
        self._expect(self._world.fingerprint_of_remote() == before, "nothing changes on the remote")
        self._expect(len(self._world.lab.changes) == calls, "nor on the pool")
        say("           another tick without drift: nothing is changed, on pool or remote")
        self.proofs.append("a second tick without drift changes nothing, on pool or remote")

    async def restore_every_point(self) -> None:
        restored = 0
        for point in self._world.points():
            for number, disk in enumerate(point.disks):
                output = self._world.directory / "restored" / f"{point.stamp}-{number}.raw"
                action = RestoreDisk(
                    remote=REMOTE,
                    vm=point.vm,
                    vm_name=point.vm_name,
                    stamp=point.stamp,
                    disk=disk.disk,
                    output=str(output),
                    format="raw",
                    due=self._world.clock.now(),
                )
                await carry(action, self._desired(), "none")
                digest = await asyncio.to_thread(digest_of_file, output)
                wanted = self._world.digests[point.stamp][disk.disk]
                self._expect(digest == wanted, f"{output.name} is what the disk was")
                output.unlink()
                restored += 1
        count = len(self._world.points())
        say(f"Restore    {restored} disks of {count} points, compared by SHA-256")
        self.proofs.append(f"every restore point gives back the same bytes ({restored} disks)")

    async def restore_as_new_vm(self) -> None:
        point = self._world.points()[0]
        action = RestoreVm(
            remote=REMOTE,
            vm=point.vm,
            vm_name=point.vm_name,
            stamp=point.stamp,
            pool=PoolName("lab"),
            sr=None,
            name="web-restored",
            start=True,
            due=self._world.clock.now(),
        )
        await carry(action, self._desired(), "none")
        wanted = self._world.digests[point.stamp]
        for position, live in enumerate(self._world.disks):
            uuid = self._world.lab.disk("web-restored", position).text("uuid")
            digest = await asyncio.to_thread(self._world.digest_of_vdi, uuid)
            self._expect(digest == wanted[live], f"disk {position} of the new VM is what it was")
        say("           the oldest point as a new VM, started; its disks compared")
        self.proofs.append("a point comes back as a new VM with the same disks")

    # ── means ────────────────────────────────────────────────────────────────────────────────

    async def _night(self, day: int, name: str | None) -> None:
        if name is not None:
            say(f"{name:<10} 02:00 comes")
        await self._world.step_to(_NIGHT + timedelta(days=day))

    async def _guest_writes(self, count_mib: int) -> None:
        lab, offset = self._world.lab, (len(self._world.digests) * 16) * MIB
        await asyncio.to_thread(lab.random_write, "web", 0, offset, count_mib * MIB)
        await asyncio.to_thread(lab.random_write, "web", 1, offset // 4, count_mib * MIB // 8)

    def _files(self) -> list[DiskFile]:
        report = self._world.reconciler.report.value
        view = report.observed.remotes[REMOTE] if report is not None else None
        assert isinstance(view, RemoteView), "it was seen when the plan came to rest"
        history = view.histories[self._world.vm()]
        assert isinstance(history, History), "it was seen when the plan came to rest"
        return list(history.files.values())

    def _desired(self) -> Desired:
        return self._world.desired.value

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Failure(f"it does not hold that {what}", subject="demonstration")


async def _delete_snapshots(world: World) -> None:
    """Delete every snapshot of the VM with its disks, as a person at the pool might."""
    async with world.client() as client:
        for ref, vm in (await client.call("VM.get_all_records")).items():
            if vm["is_a_snapshot"]:
                vdis = [await client.call("VBD.get_VDI", vbd) for vbd in vm["VBDs"]]
                await client.call("VM.destroy", ref)
                for vdi in vdis:
                    if vdi != "OpaqueRef:NULL":  # an empty CD drive
                        await client.call("VDI.destroy", vdi)
