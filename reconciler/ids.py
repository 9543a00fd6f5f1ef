"""Names of things, as types: a pool's name is not a remote's name, whatever `str` says.

Knows nothing else. Uuids are XAPI's (36 characters, lower case); references (`OpaqueRef:…`)
never leave `xapi/` and `executor/`, because they do not survive a restored pool database.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NewType

PoolName = NewType("PoolName", str)
RemoteName = NewType("RemoteName", str)
JobName = NewType("JobName", str)
RestoreName = NewType("RestoreName", str)

JobId = NewType("JobId", str)
"""Uuid of a job: a directory under `vdis/` on remotes, a mark on snapshots."""
ScheduleId = NewType("ScheduleId", str)

VmUuid = NewType("VmUuid", str)
DiskUuid = NewType("DiskUuid", str)
"""Uuid of a *live* disk (what XAPI calls the VDI of the VM)."""
SnapshotUuid = NewType("SnapshotUuid", str)
"""Uuid of a snapshot of a whole VM."""
DiskSnapshotUuid = NewType("DiskSnapshotUuid", str)
"""Uuid of one disk's snapshot; a VHD exported from it carries it in its footer."""

Stamp = NewType("Stamp", str)
"""When a restore point was taken, as it stands in file names: `20260101T020000Z`, UTC."""
ActionId = NewType("ActionId", str)
RunId = NewType("RunId", str)
"""One slot of a job, or one request for it: `<job>/20260101T020000Z`."""
SrUuid = NewType("SrUuid", str)
RestoreId = NewType("RestoreId", str)
"""Uuid of a restore: a mark on the VM it makes, and on the pool."""

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")


def stamp_of(instant: datetime) -> Stamp:
    """Render an aware instant to the second, in UTC."""
    assert instant.tzinfo is not None, "a stamp is taken of an aware instant"
    utc = instant.astimezone(UTC)
    return Stamp(f"{utc.year:04}{utc.strftime('%m%dT%H%M%SZ')}")  # %Y pads on no libc alike


@lru_cache(maxsize=4096)  # one for each VM of a night, and they are all the same
def run_id(job: JobName, due: datetime) -> RunId:
    """Name the run of a job that answers the slot, or the request, at this instant."""
    return RunId(f"{job}/{stamp_of(due)}")


def instant_of(stamp: Stamp) -> datetime:
    """Parse a stamp to an aware UTC instant. Raises ValueError on anything else."""
    if not (stamp.isascii() and STAMP.fullmatch(stamp)):
        raise ValueError(f"{stamp!r} is not a stamp such as 20260101T020000Z")
    return datetime.fromisoformat(stamp)  # strptime takes twenty times as long
