"""A restore, from the words that ask for it to what it made: find, show, carry out."""

import asyncio
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from reconciler.cli import progress
from reconciler.cli.escape import escape
from reconciler.cli.exits import ExitCode, Failure, code_of, leaves_of
from reconciler.cli.loading import reveal
from reconciler.cli.looking import blind_spots
from reconciler.cli.messages import say
from reconciler.cli.points import choose, require_on_remote
from reconciler.clock import Clock, SystemClock
from reconciler.connections import Connections
from reconciler.desired.state import Desired
from reconciler.executor.dispatch import carry_out
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge, Transfers
from reconciler.executor.verdict import verdict
from reconciler.ids import DiskUuid, PoolName, RemoteName
from reconciler.latest import Latest
from reconciler.observed.chain import DiskFile, PointDisk, PointKind, RestorePoint
from reconciler.observed.unknown import Unknown
from reconciler.plan.points import Located
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.status.report import Report
from reconciler.units import render_size
from reconciler.xapi.errors import Unreachable


@dataclass(frozen=True, slots=True)
class Request:
    """The words of the command line."""

    point: str
    remote: RemoteName | None
    as_of: datetime | None
    to_pool: PoolName | None
    sr: str | None
    name: str | None
    start: bool
    disk: str | None
    to_file: Path | None
    format: Literal["raw", "vhd", "qcow2"]


def what_to_see(request: Request, desired: Desired) -> Desired:
    """Leave of the desired state what a restore needs to look at. Raises Failure."""
    for kind, name, known in (
        ("XenPool", request.to_pool, list(desired.pools)),
        ("BackupRemote", request.remote, list(desired.remotes)),
    ):
        if name is not None and name not in known:
            raise Failure(
                "no manifest that can be used describes it",
                subject=f"{kind}/{name}",
                hint=f"there are: {', '.join(sorted(known)) or 'none'}",
            )
    if request.to_file is not None:
        _check_file(request.to_file)
    require_on_remote(request.point, desired.pools, desired.remotes)
    pools = {name: pool for name, pool in desired.pools.items() if name == request.to_pool}
    remotes = {
        name: remote for name, remote in desired.remotes.items() if request.remote in (None, name)
    }
    return replace(desired, pools=pools, remotes=remotes, jobs={}, requests=(), restores={})


def _check_file(file: Path) -> None:
    """Fail before anything is read rather than after. The step checks again, without a gap."""
    if os.path.lexists(file):
        raise Failure(
            "is there already and is never overwritten",
            subject=f"file {file}",
            hint="name another one, or remove it first",
        )
    if not file.parent.is_dir():
        raise Failure("there is no such directory", subject=f"directory {file.parent}")


def find(request: Request, report: Report) -> Located:
    """Find the point in what was seen. Raises Failure; says what could not be seen."""
    if request.to_pool is not None:
        view = report.observed.pools.get(request.to_pool)
        if isinstance(view, Unknown):
            raise Failure(view.why, subject=f"pool {request.to_pool}", code=code_of(view.reason))
    for sentence in blind_spots(report.desired, report.observed):
        say(sentence, "warning")
    unseen = [view for view in report.observed.remotes.values() if isinstance(view, Unknown)]
    try:
        return choose(
            request.point, report.observed.remotes, remote=request.remote, as_of=request.as_of
        )
    except Failure as failure:
        if failure.code is ExitCode.ERROR and len(unseen) == len(report.observed.remotes) > 0:
            failure.code = code_of(unseen[0].reason)
        raise


def action_of(request: Request, found: Located, clock: Clock) -> RestoreVm | RestoreDisk:
    """Make the action that was asked for. Raises Failure: there is no such disk."""
    point = found.point
    if request.to_pool is not None:
        return RestoreVm(
            remote=found.remote,
            vm=point.vm,
            vm_name=point.vm_name,
            stamp=point.stamp,
            pool=request.to_pool,
            sr=request.sr,
            name=request.name,
            start=request.start,
            due=clock.now(),
        )
    assert request.disk is not None, "checked with the words"
    assert request.to_file is not None, "checked with the words"
    return RestoreDisk(
        remote=found.remote,
        vm=point.vm,
        vm_name=point.vm_name,
        stamp=point.stamp,
        disk=disk_of(found, request.disk),
        output=str(request.to_file),
        format=request.format,
        due=clock.now(),
    )


def disk_of(found: Located, wanted: str) -> DiskUuid:
    """Find a disk of a point by number, uuid or name. Raises Failure."""
    if found.point.archive and not found.point.disks:
        return DiskUuid(wanted)  # nobody listed them; the archive itself knows
    numbered = numbers_of(found.point)
    if wanted in numbered:
        return numbered[wanted].disk
    disks = found.point.disks
    named = [disk for disk in disks if disk.disk == wanted.lower()]
    named = named or [disk for disk in disks if disk.name == wanted]
    if len(named) == 1:
        return named[0].disk
    listed = ", ".join(f"{number} ({disk.name})" for number, disk in numbered.items())
    raise Failure(
        "several of its disks have this name" if named else "it has no such disk",
        subject=f"{found.name}, disk {wanted}",
        hint=f"its disks: {listed or 'none'}",
    )


def numbers_of(point: RestorePoint) -> dict[str, PointDisk]:
    """Number the disks by their positions in the VM, or in order where those are not known."""
    positions = [disk.position for disk in point.disks]
    if not all(positions) or len(set(positions)) < len(positions):
        positions = [str(number) for number in range(len(positions))]
    return dict(zip(positions, point.disks, strict=True))


def plan_of(action: RestoreVm | RestoreDisk, found: Located) -> dict[str, Any]:
    """Say what would be read and made; sizes in bytes."""
    disks = [
        each
        for each in _disks(found)
        if isinstance(action, RestoreVm) or action.disk == each["disk"]
    ]
    if isinstance(action, RestoreVm):
        name = action.name or f"{action.vm_name} ({action.stamp})"
        to = {"pool": action.pool, "sr": action.sr, "name": name, "start": action.start}
    else:
        to = {"file": action.output, "format": action.format}
    return {
        "point": found.name,
        "vmName": found.point.vm_name,
        "takenAt": found.point.taken_at.isoformat(),
        "to": to,
        # An archive is read once, and to its end, whatever is wanted of it.
        "readBytesMax": found.point.size_bytes
        if found.point.archive
        else sum(disk["readBytesMax"] for disk in disks),
        "disks": disks,
    }


def _disks(found: Located) -> list[dict[str, Any]]:
    numbered = numbers_of(found.point).items()
    if found.point.archive:
        return [_archived(number, disk, found.point) for number, disk in numbered]
    return [
        _disk(number, disk, chain)
        for (number, disk), chain in zip(numbered, found.chains(), strict=True)
    ]


def _archived(number: str, disk: PointDisk, point: RestorePoint) -> dict[str, Any]:
    archive = {"path": point.archive, "kind": point.kind.value, "fileBytes": point.size_bytes}
    return {
        "number": number,
        "disk": disk.disk,
        "name": disk.name,
        "virtualBytes": disk.size_bytes,
        "readBytesMax": point.size_bytes,
        "chain": [archive],
    }


def _disk(number: str, disk: PointDisk, chain: tuple[DiskFile, ...]) -> dict[str, Any]:
    """Of a block that several files of the chain hold, only the newest is read."""
    virtual_bytes = chain[0].virtual_bytes
    return {
        "number": number,
        "disk": disk.disk,
        "name": disk.name,
        "virtualBytes": virtual_bytes,
        "readBytesMax": min(virtual_bytes, sum(file.data_bytes for file in chain)),
        "chain": [
            {
                "path": file.path,
                "kind": "Full" if file.parent is None else "Delta",
                "fileBytes": file.file_bytes,
            }
            for file in chain
        ],
    }


def plan_text(content: dict[str, Any]) -> str:
    """Render the same for a person."""
    to = content["to"]
    if "pool" in to:
        where = f'new VM "{to["name"]}" on pool {to["pool"]}, SR {to["sr"] or "of the pool"}'
        where += ", started" if to["start"] else ""
    else:
        where = f"file {to['file']} ({to['format']})"
    lines = [
        f"restore  {content['point']}",
        f"of       VM {content['vmName']}, {content['takenAt']}",
        f"to       {where}",
        f"read     at most {render_size(content['readBytesMax'])}",
    ]
    for disk in content["disks"]:
        deltas = len(disk["chain"]) - 1
        size = render_size(disk["virtualBytes"])
        noun = "delta" if deltas == 1 else "deltas"
        archived = disk["chain"][0]["kind"] == PointKind.ARCHIVE
        where = "in an archive" if archived else f"1 full and {deltas} {noun}"
        lines.append(f"disk {disk['number']}   {disk['name']}, {size}, {where}:")
        lines += [
            f"           {file['kind']:<6}{render_size(file['fileBytes']):>10}  {file['path']}"
            for file in disk["chain"]
        ]
    return "".join(f"{escape(line)}\n" for line in lines)


async def carry(
    action: RestoreVm | RestoreDisk, desired: Desired, style: progress.Style
) -> dict[str, Any]:
    """Carry the action out and show how it goes; return what it made. Raises Failure."""
    clock = SystemClock()
    connections = Connections(Latest(desired), reveal, read_only=True, mounts=True)
    transfers = Transfers()
    gauge = transfers.begin(action, clock.now())
    made = [action.output] if isinstance(action, RestoreDisk) else []
    tools = _tools(connections, gauge, clock, desired, made)
    began = clock.now()
    try:
        async with asyncio.TaskGroup() as group:
            drawing = group.create_task(progress.show(transfers.read, style))
            try:
                await carry_out(action, tools)
            except Exception as error:
                raise _failure(action, error, made, clock) from error
            finally:
                drawing.cancel()
    finally:
        await connections.close()
    return {
        "made": made[0],
        "bytes": gauge.done_bytes,
        "seconds": round((clock.now() - began).total_seconds(), 3),
    }


def _tools(
    connections: Connections, gauge: Gauge, clock: Clock, desired: Desired, made: list[str]
) -> Tools:
    slots: dict[PoolName, asyncio.Semaphore] = {
        name: asyncio.Semaphore(pool.exports_max) for name, pool in desired.pools.items()
    }
    return Tools(
        clock=clock,
        gauge=gauge,
        pool=connections.pool,
        remote=connections.remote,
        export_slot=lambda pool: slots[pool],
        made=made.append,
    )


def _failure(
    action: RestoreVm | RestoreDisk, error: Exception, made: list[str], clock: Clock
) -> Exception:
    """Say in words why the step failed; what nobody thought of stays what it is."""
    leaf = leaves_of(error)[0]
    match leaf:
        case FileExistsError() if isinstance(action, RestoreDisk):
            what = "is there already and is never overwritten"
            return Failure(what, subject=f"file {action.output}", hint="name another one")
        case OSError() if isinstance(action, RestoreDisk):
            what = f"cannot be written: {leaf.strerror or leaf}"
            return Failure(what, subject=f"file {action.output}")
        case Unreachable() if isinstance(action, RestoreVm):
            subject = f"pool {action.pool}"
            return Failure(str(leaf), subject=subject, code=ExitCode.POOL_UNREACHABLE)
        case _:
            attempt = verdict(action, error, None, clock.now())
            if attempt.reason is Reason.INTERNAL_ERROR:
                return error
    left = f"VM {made[0]} was made and is whole" if isinstance(action, RestoreVm) and made else ""
    return Failure(
        attempt.why,
        subject=f"{action.vm_name} at {action.stamp} from remote {action.remote}",
        hint=left or "nothing is left of this try",
        code=code_of(attempt.reason),
    )
