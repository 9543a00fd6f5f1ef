"""What was read at the last look, so that what did not change since is not read again."""

from dataclasses import dataclass
from datetime import datetime

from reconciler.ids import VmUuid
from reconciler.observed.chain import DiskFile, RestorePoint

Finding = RestorePoint | DiskFile
"""What is known of a file without reading it again."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Equal: the file was not written in between, as far as a file system tells."""

    size_bytes: int
    mtime_ns: int
    inode: int
    in_merge: bool
    data: tuple[int, int] | None = None
    """Of the block directory that an alias names: modification time and inode."""


class Headers:
    """What was read at the last look, per VM: replaced by each look, so it never outgrows it."""

    def __init__(self) -> None:
        self._known: dict[VmUuid, dict[str, tuple[Signature, Finding]]] = {}
        self._locks: dict[VmUuid, tuple[int, datetime]] = {}

    def known(self, vm: VmUuid) -> dict[str, tuple[Signature, Finding]]:
        return self._known.get(vm, {})

    def replace(self, vm: VmUuid, known: dict[str, tuple[Signature, Finding]]) -> None:
        self._known[vm] = known

    def lock_seen(self, vm: VmUuid, mtime_ns: int | None, as_of: datetime) -> datetime:
        """Remember a lock's heartbeat; return when it was first seen as it is now."""
        if mtime_ns is None:
            self._locks.pop(vm, None)
            return as_of
        seen_ns, since = self._locks.get(vm, (0, as_of))
        if seen_ns != mtime_ns:
            since = as_of
        self._locks[vm] = (mtime_ns, since)
        return since

    def forget_others(self, vms: set[VmUuid]) -> None:
        """Drop what is known of VMs that are not there any more."""
        for gone in self._known.keys() - vms:
            del self._known[gone]
        for gone in self._locks.keys() - vms:
            del self._locks[gone]
