"""What replicas say about themselves in XAPI's `other_config`, in Xen Orchestra's words and ours.

Three kinds of object carry such marks, and each says which it is:

```
                 xo:backup:datetime    reconciler:self
a point          its instant           the object itself: a replica's snapshot, or a copied VM
in the making    1970                  the object itself: a VM that a transfer goes into, or a
                                       point that is being taken away
the replica      none                  the object itself: what was brought up to date, and will be
```

XAPI copies `other_config` with the object, so the clone that somebody makes of a point carries the
point's marks. On it they mean nothing, except that it is no VM to back up (`xo:backup:sr`).

An object that another tool marked has no `reconciler:` keys; it is read, and never removed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.ids import (
    STAMP,
    UUID,
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    ScheduleId,
    SrUuid,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.marks import (
    CONTENT_KEY,
    DATETIME_KEY,
    JOB_KEY,
    LIVE_DISK_KEY,
    MARK_KEYS,
    OWNER,
    OWNER_KEY,
    SCHEDULE_KEY,
    SCHEDULES_KEY,
    SELF_KEY,
    SOURCE_KEY,
    SR_KEY,
    STAMP_KEY,
    VM_KEY,
    VM_NAME_KEY,
    parse_datetime,
    parse_schedules,
    render_datetime,
)

_IN_THE_MAKING = "19700101T000000Z"  # Xen Orchestra's, so that what is left over sorts first
_NAME_MAX = 256
IMPORTING = "[Importing…]"
"""Begins the name of whatever a transfer goes into: Xen Orchestra's word."""
_STAGING = re.compile(
    rf"\[Importing…\] reconciler ({UUID.pattern}) ({UUID.pattern}) ({STAMP.pattern})"
)
BLOCKED = "Start operation for this vm is blocked, clone it if you want to use it."
"""Why a replica does not start: Xen Orchestra's words, by which its tools know replicas."""


@dataclass(frozen=True, slots=True)
class ReplicaMarks:
    """vm, vm_name: the protected VM. sr: where the replica lies. stamp: of the source's snapshot,
    which the point will be named by as well.
    """

    job: JobId
    schedules: tuple[ScheduleId, ...]
    stamp: Stamp
    vm: VmUuid
    vm_name: str
    sr: SrUuid


@dataclass(frozen=True, slots=True)
class DiskOrigin:
    """What a replica's disk equals. disk: the live disk, where that is said."""

    source: DiskSnapshotUuid
    disk: DiskUuid | None


def write_point(marks: ReplicaMarks, of: str, other_config: Mapping[str, str]) -> dict[str, str]:
    """Give the `other_config` of a point with the uuid `of`: what it had, and these marks."""
    stamped = {DATETIME_KEY: render_datetime(marks.stamp)}
    return _kept(other_config) | _described(marks) | stamped | _own(of)


def write_unfinished(
    marks: ReplicaMarks, of: str, other_config: Mapping[str, str]
) -> dict[str, str]:
    """The same for what is no point yet, or no more."""
    stamped = {DATETIME_KEY: _IN_THE_MAKING, STAMP_KEY: marks.stamp}
    return _kept(other_config) | _described(marks) | stamped | _own(of)


def write_replica(sr: SrUuid, of: str, other_config: Mapping[str, str]) -> dict[str, str]:
    """The same for the VM whose snapshots are the points, and for its disks."""
    return {**_kept(other_config), SR_KEY: sr, **_own(of)}


def write_disk_point(
    marks: ReplicaMarks, origin: DiskOrigin, content: str, of: str, other_config: Mapping[str, str]
) -> dict[str, str]:
    """The same for a disk of a point. content: by which other tools know equal content."""
    said = {SOURCE_KEY: origin.source, CONTENT_KEY: content}
    if origin.disk is not None:
        said[LIVE_DISK_KEY] = origin.disk
    return write_point(marks, of, other_config) | said


def read_point(other_config: Mapping[str, str], of: str) -> ReplicaMarks | None:
    """Parse the marks of a point with the uuid `of`; None if it is none, or a copy of one."""
    if other_config.get(DATETIME_KEY, _IN_THE_MAKING) == _IN_THE_MAKING or _is_copy(
        other_config, of
    ):
        return None
    try:
        return _read(other_config, parse_datetime(other_config[DATETIME_KEY]))
    except ValueError:
        return None


def read_unfinished(other_config: Mapping[str, str], of: str, name: str) -> ReplicaMarks | None:
    """Parse the marks of something of ours in the making; None if it is no such thing.

    name: the VM's label; what was just made is known by that alone.
    """
    if read_point(other_config, of) is not None:
        return None
    if (staged := _STAGING.fullmatch(name)) is not None and SR_KEY in other_config:
        stamp, vm = Stamp(staged[3]), VmUuid(staged[2])
        sr = SrUuid(other_config[SR_KEY])
        return ReplicaMarks(JobId(staged[1]), (), stamp, vm, "", sr)
    if not is_ours(other_config, of) or other_config.get(DATETIME_KEY) != _IN_THE_MAKING:
        return None
    try:
        return _read(other_config, Stamp(other_config.get(STAMP_KEY, "")))
    except ValueError:
        return None


def read_origin(other_config: Mapping[str, str]) -> DiskOrigin | None:
    """What a replica's disk says it equals; None if it does not say."""
    source, disk = other_config.get(SOURCE_KEY, ""), other_config.get(LIVE_DISK_KEY, "")
    if not UUID.fullmatch(source):
        return None
    return DiskOrigin(DiskSnapshotUuid(source), DiskUuid(disk) if UUID.fullmatch(disk) else None)


def is_ours(other_config: Mapping[str, str], of: str) -> bool:
    """Whether we marked this very object as part of a replica."""
    return (
        other_config.get(OWNER_KEY) == OWNER
        and other_config.get(SELF_KEY) == of
        and SR_KEY in other_config
    )


def staging_name(job: JobId, vm: VmUuid, stamp: Stamp) -> str:
    """The label of what is made and cannot be marked in the same call."""
    return f"{IMPORTING} reconciler {job} {vm} {stamp}"


def replica_name(vm_name: str, job: str) -> str:
    """The label of a replica between two transfers, as Xen Orchestra has it."""
    return f"{vm_name} - {job}"


def _is_copy(other_config: Mapping[str, str], of: str) -> bool:
    return OWNER_KEY in other_config and not is_ours(other_config, of)


def _kept(other_config: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in other_config.items() if key not in MARK_KEYS}


def _own(of: str) -> dict[str, str]:
    return {OWNER_KEY: OWNER, SELF_KEY: of}


def _described(marks: ReplicaMarks) -> dict[str, str]:
    return {
        JOB_KEY: marks.job,
        SCHEDULE_KEY: marks.schedules[0] if marks.schedules else "",
        SCHEDULES_KEY: ",".join(marks.schedules),
        VM_KEY: marks.vm,
        VM_NAME_KEY: marks.vm_name[:_NAME_MAX],
        SR_KEY: marks.sr,
    }


def _read(other_config: Mapping[str, str], stamp: Stamp) -> ReplicaMarks:
    """Raises ValueError."""
    instant_of(stamp)
    job, vm, sr = (other_config.get(key, "") for key in (JOB_KEY, VM_KEY, SR_KEY))
    if not all(UUID.fullmatch(value) for value in (job, vm, sr)):
        raise ValueError("a replica without job, VM or SR")
    schedules = parse_schedules(other_config)
    name = other_config.get(VM_NAME_KEY, "")[:_NAME_MAX]
    return ReplicaMarks(JobId(job), schedules, stamp, VmUuid(vm), name, SrUuid(sr))
