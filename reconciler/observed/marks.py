"""What snapshots say about themselves in XAPI's `other_config`: written by one step, read by all.

Where Xen Orchestra has a key for something, it is used, so that its tools understand our snapshots.
Some keys are ours alone: who owns the snapshot, which object the marks were written for, all the
schedules it answers (Xen Orchestra's key holds one) and the request, the disks it was made of, and
whether it is a restore point itself. A live VM has marks of ours for two things: that it is to be
started again, and that a run was given up of which there is no snapshot any more.

Marks are copied by XAPI whenever an object is: a VM reverted to a marked snapshot carries them,
and so does every snapshot a person takes of that VM afterwards. So marks name the very object that
they were written for, and on any other object they mean nothing.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from reconciler.ids import (
    UUID,
    DiskUuid,
    JobId,
    ScheduleId,
    Stamp,
    VmUuid,
    instant_of,
    stamp_of,
)
from reconciler.observed.pool import GivenUp, Marks, ShutDown

OWNER_KEY = "reconciler:owner"
SELF_KEY = "reconciler:self"
SCHEDULES_KEY = "reconciler:schedules"
DISKS_KEY = "reconciler:disks"
ROLLING_KEY = "reconciler:rolling"
REQUESTED_KEY = "reconciler:requested"
OWNER = "reconciler"

JOB_KEY = "xo:backup:job"
SCHEDULE_KEY = "xo:backup:schedule"
DATETIME_KEY = "xo:backup:datetime"
VM_KEY = "xo:backup:vm"
CONTENT_KEY = "xo:backup:contentKey"
QCOW2_FIX_KEY = "xo:backup:includeNonNbdQcow2Fix"
EXPORTED_KEY = "xo:backup:exported"
SR_KEY = "xo:backup:sr"
SOURCE_KEY = "xo:copy_of"

# of replicas (replica_marks.py)
STAMP_KEY = "reconciler:stamp"
VM_NAME_KEY = "reconciler:vm-name"
LIVE_DISK_KEY = "reconciler:disk"

OFFLINE_KEY = "reconciler:offline"
"""On a live VM that we shut down, until it is started again."""
GIVEN_UP_KEY = "reconciler:given-up"
"""On a live VM, for as long as no newer snapshot of the job says more."""

# of restored VMs and their disks (restore_marks.py)
RESTORING_KEY = "reconciler:restoring"
RESTORED_KEY = "reconciler:restored"

MARK_KEYS = frozenset(
    {
        OWNER_KEY,
        SELF_KEY,
        SCHEDULES_KEY,
        DISKS_KEY,
        ROLLING_KEY,
        REQUESTED_KEY,
        JOB_KEY,
        SCHEDULE_KEY,
        DATETIME_KEY,
        VM_KEY,
        CONTENT_KEY,
        QCOW2_FIX_KEY,
        "xo:backup:deltaChainLength",
        EXPORTED_KEY,
        SR_KEY,
        SOURCE_KEY,
        STAMP_KEY,
        VM_NAME_KEY,
        LIVE_DISK_KEY,
        OFFLINE_KEY,
        GIVEN_UP_KEY,
        RESTORING_KEY,
        RESTORED_KEY,
        "xo:base_delta",
        "xo:base_delta_vdi",
    }
)
"""Everything that a backup says about a snapshot, or a live VM; a new snapshot has none of it."""

REPLICA_KEYS = frozenset({SOURCE_KEY, SR_KEY})
"""A VM with one of these is a backup itself, and its snapshots are no sources of backups."""

_LIST_MAX = 256
_GIVEN_UP_WORDS = 4  # and the schedules
_SCHEDULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DATETIME = re.compile(r"(\d{8})T(\d\d):(\d\d):(\d\d)Z")


def write_marks(marks: Marks, of: str, other_config: Mapping[str, str]) -> dict[str, str]:
    """Give the `other_config` of a snapshot VM: what it had, without marks, and these.

    of: uuid of the object that the marks go on.
    """
    kept = {key: value for key, value in other_config.items() if key not in MARK_KEYS}
    return {
        **kept,
        JOB_KEY: marks.job,
        SCHEDULE_KEY: marks.schedules[0] if marks.schedules else "",
        DATETIME_KEY: render_datetime(marks.stamp),
        VM_KEY: marks.vm,
        QCOW2_FIX_KEY: "true",
        SCHEDULES_KEY: ",".join(marks.schedules),
        DISKS_KEY: ",".join(marks.disks),
        **({ROLLING_KEY: "true"} if marks.rolling else {}),
        **({REQUESTED_KEY: marks.requested} if marks.requested else {}),
        OWNER_KEY: OWNER,
        SELF_KEY: of,
    }


def write_disk_marks(marks: Marks, of: str, other_config: Mapping[str, str]) -> dict[str, str]:
    """The same for the snapshot of a disk, which also says whose content it has: its own."""
    return {**write_marks(marks, of, other_config), CONTENT_KEY: of}


def read_marks(other_config: Mapping[str, str], of: str) -> Marks | None:
    """Parse the marks on the object with uuid `of`; None if it has none that were meant for it.

    Raises ValueError if they were, and make no sense.
    """
    if other_config.get(OWNER_KEY) != OWNER or other_config.get(SELF_KEY) != of:
        return None
    if other_config.keys() & REPLICA_KEYS:
        return None
    return Marks(
        job=JobId(_uuid(other_config, JOB_KEY)),
        schedules=parse_schedules(other_config),
        stamp=parse_datetime(other_config.get(DATETIME_KEY, "")),
        vm=VmUuid(_uuid(other_config, VM_KEY)),
        disks=tuple(DiskUuid(part) for part in _list(other_config, DISKS_KEY, UUID)),
        rolling=ROLLING_KEY in other_config,
        requested=_stamp(other_config.get(REQUESTED_KEY)),
    )


def write_offline(shut_down: ShutDown, of: str) -> str:
    """The value of `OFFLINE_KEY` on the VM with uuid `of`."""
    return f"{of} {shut_down.job} {stamp_of(shut_down.at)}"


def read_offline(other_config: Mapping[str, str], of: str) -> ShutDown | None:
    """The other way round; None without a mark, or one that was meant for another VM."""
    owner, _, rest = other_config.get(OFFLINE_KEY, "").partition(" ")
    job, _, stamp = rest.partition(" ")
    if owner != of or not UUID.fullmatch(job):
        return None
    try:
        return ShutDown(JobId(job), instant_of(Stamp(stamp)))
    except ValueError:
        return None


def write_given_up(given_up: Iterable[GivenUp], of: str) -> str:
    """The value of `GIVEN_UP_KEY` on the VM with uuid `of`."""
    entries = [
        " ".join([each.job, each.stamp, each.requested or "-", each.reason, *each.schedules])
        for each in given_up
    ]
    return ";".join([of, *entries])


def read_given_up(other_config: Mapping[str, str], of: str) -> tuple[GivenUp, ...]:
    """The other way round. What makes no sense, or was meant for another VM, is left out."""
    owner, *entries = other_config.get(GIVEN_UP_KEY, "").split(";", _LIST_MAX)
    if owner != of:
        return ()
    found = []
    for entry in entries:
        words = entry.split(" ", _LIST_MAX)
        if len(words) < _GIVEN_UP_WORDS or not UUID.fullmatch(words[0]):
            continue
        job, stamp, requested, reason, *schedules = words
        with contextlib.suppress(ValueError):
            instant_of(Stamp(stamp))
            asked = None if requested == "-" else _stamp(requested)
            ids = tuple(ScheduleId(each) for each in schedules if _SCHEDULE_ID.fullmatch(each))
            found.append(GivenUp(JobId(job), Stamp(stamp), ids, asked, reason))
    return tuple(found)


def taken_at(marks: Marks) -> datetime:
    """The instant that the stamp stands for."""
    return instant_of(marks.stamp)


def _stamp(text: str | None) -> Stamp | None:
    """Raises ValueError."""
    if text is None:
        return None
    instant_of(Stamp(text))
    return Stamp(text)


def _uuid(other_config: Mapping[str, str], key: str) -> str:
    value = other_config.get(key, "")
    if not UUID.fullmatch(value):
        raise ValueError(f"{key} is not a uuid")
    return value


def _list(other_config: Mapping[str, str], key: str, shape: re.Pattern[str]) -> list[str]:
    parts = [part for part in other_config.get(key, "").split(",", _LIST_MAX) if part]
    if len(parts) > _LIST_MAX or not all(shape.fullmatch(part) for part in parts):
        raise ValueError(f"{key} is not a list of ids")
    return parts


def parse_schedules(other_config: Mapping[str, str]) -> tuple[ScheduleId, ...]:
    """The schedules that a mark names, in Xen Orchestra's key if ours is not there.

    Raises ValueError.
    """
    key = SCHEDULES_KEY if SCHEDULES_KEY in other_config else SCHEDULE_KEY
    return tuple(ScheduleId(part) for part in _list(other_config, key, _SCHEDULE_ID))


def render_datetime(stamp: Stamp) -> str:
    """`20260101T020000Z` → `20260101T02:00:00Z`."""
    return instant_of(stamp).strftime("%Y%m%dT%H:%M:%SZ")


def parse_datetime(text: str) -> Stamp:
    """The other way round. Raises ValueError."""
    found = _DATETIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{DATETIME_KEY} is not an instant")
    stamp = Stamp(f"{found[1]}T{found[2]}{found[3]}{found[4]}Z")
    instant_of(stamp)  # raises ValueError on a thirteenth month
    return stamp
