"""A pool as seen through XAPI: its VMs, their disks, and the snapshots that carry marks.

Only what decides something is here. References are left out on purpose: uuids survive a restored
pool database, references do not; steps look references up when they act.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    PoolName,
    RestoreId,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
)
from reconciler.observed.replica import Replica, Sr
from reconciler.observed.restored import LooseDisk, RestoredVm, RestoreRecord


class PowerState(StrEnum):
    HALTED = "Halted"
    PAUSED = "Paused"
    RUNNING = "Running"
    SUSPENDED = "Suspended"


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a VM. position: XAPI's userdevice ("0", "1" …). size_bytes: virtual size."""

    uuid: DiskUuid
    name: str
    size_bytes: int
    sr: str
    position: str


@dataclass(frozen=True, slots=True)
class Marks:
    """What a snapshot says about itself in `other_config`: whose it is and what it is for.

    stamp: when it was taken, and the name of the restore point that will be made from it.
    schedules: those whose slots this snapshot answers; empty for a run that was asked for by hand.
    disks: the live disks it was made of, so that one that went missing is missed; empty if it
    does not say. rolling: it was made to be a restore point itself, whatever becomes of its job.
    requested: the request that it answers, by its instant, if it answers one.
    """

    job: JobId
    schedules: tuple[ScheduleId, ...]
    stamp: Stamp
    vm: VmUuid
    disks: tuple[DiskUuid, ...] = ()
    rolling: bool = False
    requested: Stamp | None = None


@dataclass(frozen=True, slots=True)
class DiskSnapshot:
    """One disk of a snapshot. disk: the live disk it was taken of, if that is still known."""

    uuid: DiskSnapshotUuid
    disk: DiskUuid | None
    size_bytes: int
    sr: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a whole VM on the pool. marks: None if it is not ours to touch.

    name: its label. `temporary` names (see `SNAPSHOT_IN_PROGRESS`) are ours before their marks
    are written: a crash between the two leaves one behind.
    """

    uuid: SnapshotUuid
    name: str
    taken_at: datetime
    marks: Marks | None
    disks: tuple[DiskSnapshot, ...]


SNAPSHOT_IN_PROGRESS = "reconciler-snapshot-in-progress"
"""Prefix of the label a snapshot is made with; `-<job id>` follows. Replaced once it is marked."""


@dataclass(frozen=True, slots=True)
class ShutDown:
    """A VM's mark that we shut it down for a snapshot of a job, and when."""

    job: JobId
    at: datetime


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A VM's mark that a snapshot of a job was removed before all its points were made.

    Somebody cancelled its run, or it took too long. What it was for counts as dealt with: stamp,
    schedules, requested are those of the snapshot. reason: code.
    """

    job: JobId
    stamp: Stamp
    schedules: tuple[ScheduleId, ...]
    requested: Stamp | None
    reason: str


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM that can be protected: no template, snapshot or control domain, no replica of ours, and
    not in the making by a restore.

    busy: names of operations under way that forbid a snapshot (migration and the like).
    shut_down: it is to be started again. given_up: of each job, the newest.
    """

    uuid: VmUuid
    name: str
    tags: frozenset[str]
    power_state: PowerState
    disks: tuple[Disk, ...]
    snapshots: tuple[Snapshot, ...] = ()
    busy: tuple[str, ...] = ()
    shut_down: ShutDown | None = None
    given_up: tuple[GivenUp, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it runs, or does but for the moment that a snapshot of ours takes."""
        return self.power_state is PowerState.RUNNING or self.shut_down is not None


@dataclass(frozen=True, slots=True)
class OrphanDiskSnapshot:
    """A marked disk snapshot that belongs to no snapshot VM: left over by an interrupted clean."""

    uuid: DiskSnapshotUuid
    marks: Marks


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool, wholly read. as_of: everything that was true before this instant is in here.

    strays: snapshots of ours whose VM is no more. unreadable: what was there and could not be
    understood, one sentence each; a VM whose disks are part of it says so in `busy`.
    srs: those that can hold replicas. replicas: oldest first, of any job's. hosts: how many.
    restored, loose: what restores made, and are making; restores: what the pool says of them.
    """

    name: PoolName
    uuid: str
    label: str
    master: str
    version: str
    as_of: datetime
    vms: Mapping[VmUuid, Vm] = field(default_factory=dict)
    orphans: tuple[OrphanDiskSnapshot, ...] = ()
    strays: tuple[Snapshot, ...] = ()
    unreadable: tuple[str, ...] = ()
    srs: Mapping[SrUuid, Sr] = field(default_factory=dict)
    replicas: tuple[Replica, ...] = ()
    hosts: int = 0
    restored: tuple[RestoredVm, ...] = ()
    loose: tuple[LooseDisk, ...] = ()
    restores: Mapping[RestoreId, RestoreRecord] = field(default_factory=dict)

    def sr_name(self, sr: SrUuid) -> str:
        """Return the name of an SR; "" if it has none here that tells it from the others."""
        found = self.srs.get(sr)
        if found is None or sum(each.name == found.name for each in self.srs.values()) > 1:
            return ""
        return found.name
