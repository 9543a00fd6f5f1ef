"""A pool's objects as tables, kept in step with its changes, and who is touched by each change.

Knows records and references and how they hang together; never what they mean for backups (that is
`pool_fold.py`). An object whose record makes no sense is left out and named in `unreadable`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from reconciler.observed.marks import MARK_KEYS
from reconciler.observed.restore_marks import BEGUN_PREFIX, DONE_PREFIX
from reconciler.xapi.errors import BadRecord
from reconciler.xapi.events import Change, Classes
from reconciler.xapi.records import (
    HostRecord,
    PoolRecord,
    Record,
    SrRecord,
    VbdRecord,
    VdiRecord,
    VmRecord,
)
from reconciler.xapi.wire import Json

WANTED: Classes = {
    "pool": frozenset({"uuid", "name_label", "master", "default_SR", "other_config"}),
    "host": frozenset({"uuid", "name_label", "address", "software_version"}),
    "SR": frozenset(
        {"uuid", "name_label", "type", "content_type", "physical_size", "physical_utilisation"}
    ),
    "VM": frozenset(
        {
            "uuid",
            "name_label",
            "power_state",
            "is_a_template",
            "is_default_template",
            "is_a_snapshot",
            "is_control_domain",
            "snapshot_of",
            "snapshot_time",
            "tags",
            "current_operations",
            "blocked_operations",
            "VBDs",
            "suspend_VDI",
            "other_config",
        }
    ),
    "VBD": frozenset({"uuid", "VM", "VDI", "type", "userdevice", "currently_attached"}),
    "VDI": frozenset(
        {
            "uuid",
            "name_label",
            "virtual_size",
            "SR",
            "type",
            "is_a_snapshot",
            "snapshot_of",
            "managed",
            "sm_config",
            "other_config",
        }
    ),
}
"""Classes and fields that decide something here; order: what is pointed at comes first."""


R = TypeVar("R", PoolRecord, HostRecord, SrRecord, VmRecord, VbdRecord, VdiRecord)


@dataclass(slots=True)
class Touched:
    """What a batch of changes concerns. vms: references of VMs and snapshots, old and new.

    header: the pool itself, a host or storage. everything: no telling; look at all.
    """

    vms: set[str] = field(default_factory=set)
    vdis: set[str] = field(default_factory=set)
    header: bool = False
    everything: bool = False


class PoolTables:
    """The objects by reference, and the joins followed against their direction."""

    def __init__(self) -> None:
        self.pools: dict[str, PoolRecord] = {}
        self.hosts: dict[str, HostRecord] = {}
        self.srs: dict[str, SrRecord] = {}
        self.vms: dict[str, VmRecord] = {}
        self.vbds: dict[str, VbdRecord] = {}
        self.vdis: dict[str, VdiRecord] = {}
        self.unreadable: dict[tuple[str, str], str] = {}
        self.unreadable_version = 0
        self._vbds_of_vdi: dict[str, set[str]] = defaultdict(set)
        self._vms_of_memory: dict[str, set[str]] = defaultdict(set)
        self._vbds_of_vm: dict[str, set[str]] = defaultdict(set)
        self._listers_of_vbd: dict[str, set[str]] = defaultdict(set)
        self._snapshots_of_vdi: dict[str, set[str]] = defaultdict(set)
        self._snapshots_of_vm: dict[str, set[str]] = defaultdict(set)
        self._standing_on: dict[str, set[str]] = defaultdict(set)  # a disk's uuid
        self._hidden: set[str] = set()  # their uuids

    def apply(self, changes: Sequence[Change], touched: Touched) -> None:
        """Take over what changed; note in `touched` what may look different now."""
        for change in changes:
            match change.class_name:
                case "VM":
                    self._apply_vm(change, touched)
                case "VBD":
                    self._apply_vbd(change, touched)
                case "VDI":
                    self._apply_vdi(change, touched)
                case "SR":
                    self._apply_sr(change, touched)
                case "host":
                    before, after = self._replace(self.hosts, change, HostRecord)
                    touched.header |= before != after
                case "pool":
                    before_pool, after_pool = self._replace(self.pools, change, PoolRecord)
                    touched.header |= before_pool != after_pool

    def snapshots_of(self, vm: str) -> Iterator[VmRecord]:
        """Snapshots of a VM, by reference of the VM, in no order."""
        for ref in self._snapshots_of_vm.get(vm, ()):
            yield self.vms[ref]

    def disks_of(self, vm: VmRecord) -> Iterator[tuple[VbdRecord | None, VdiRecord | None]]:
        """The disks of a VM: drives and empty ones left out, None for what makes no sense."""
        for ref in vm.vbds:
            vbd = self.vbds.get(ref)
            if vbd is None:
                yield None, None
            elif vbd.type == "Disk" and vbd.vdi is not None:
                yield vbd, self.vdis.get(vbd.vdi)

    def vbds_of_vdi(self, vdi: str) -> Iterator[VbdRecord]:
        for ref in self._vbds_of_vdi.get(vdi, ()):
            yield self.vbds[ref]

    def is_memory(self, vdi: str) -> bool:
        """Whether a suspended VM, or a snapshot with memory, has its memory on this disk."""
        return vdi in self._vms_of_memory

    def coalesce_backlog(self) -> dict[str, int]:
        """How much each SR, by reference, has still to fold away; none of one that does not tell.

        A hidden disk that is the only one to stand on a hidden disk has no use of its own any more.
        """
        waiting: dict[str, int] = {}
        for uuid, refs in self._standing_on.items():
            for ref in refs:
                disk = self.vdis[ref]
                if disk.sr is not None:
                    alone = disk.hidden and uuid in self._hidden and len(refs) == 1
                    waiting[disk.sr] = waiting.get(disk.sr, 0) + alone
        return waiting

    def _apply_vm(self, change: Change, touched: Touched) -> None:
        before, after = self._replace(self.vms, change, VmRecord)
        if before == after:
            return
        vbds = set(self._vbds_of_vm.get(change.ref, ()))
        for record, join in ((before, False), (after, True)):
            if record is None:
                continue
            if record.is_snapshot and record.snapshot_of is not None:
                _join(self._snapshots_of_vm, record.snapshot_of, record.ref, join)
                touched.vms.add(record.snapshot_of)
            for vbd in record.vbds:
                _join(self._listers_of_vbd, vbd, record.ref, join)
            if record.memory is not None:
                _join(self._vms_of_memory, record.memory, record.ref, join)
                touched.vdis.add(record.memory)
            vbds.update(record.vbds)
        touched.vms.add(change.ref)
        for vbd in vbds:
            if (joined := self.vbds.get(vbd)) is not None and joined.vdi is not None:
                touched.vdis.add(joined.vdi)

    def _apply_vbd(self, change: Change, touched: Touched) -> None:
        before, after = self._replace(self.vbds, change, VbdRecord)
        if before == after:
            return
        for record, join in ((before, False), (after, True)):
            if record is None:
                continue
            if record.vm is not None:
                _join(self._vbds_of_vm, record.vm, record.ref, join)
            if record.vdi is not None:
                _join(self._vbds_of_vdi, record.vdi, record.ref, join)
                touched.vdis.add(record.vdi)
        touched.vms.update(self._listers_of_vbd.get(change.ref, ()))

    def _apply_vdi(self, change: Change, touched: Touched) -> None:
        before, after = self._replace(self.vdis, change, VdiRecord)
        if before == after:
            return
        for record, join in ((before, False), (after, True)):
            if record is not None and record.snapshot_of is not None:
                _join(self._snapshots_of_vdi, record.snapshot_of, record.ref, join)
            if record is not None and record.parent:
                _join(self._standing_on, record.parent, record.ref, join)
            if record is not None and record.hidden:
                (self._hidden.add if join else self._hidden.discard)(record.uuid)
        touched.header |= _tree_of(before) != _tree_of(after)
        touched.vdis.add(change.ref)
        # its snapshots too: they name the live disk that they are of
        for vdi in (change.ref, *self._snapshots_of_vdi.get(change.ref, ())):
            for vbd in self._vbds_of_vdi.get(vdi, ()):
                touched.vms.update(self._listers_of_vbd.get(vbd, ()))

    def _apply_sr(self, change: Change, touched: Touched) -> None:
        before, after = self._replace(self.srs, change, SrRecord)
        touched.header |= before != after
        if (before and before.uuid) != (after and after.uuid):
            touched.everything = True

    def _replace(
        self, table: dict[str, R], change: Change, kind: type[R]
    ) -> tuple[R | None, R | None]:
        """Put the changed record into its table; return the old one and the new one."""
        before = table.pop(change.ref, None)
        after, why = None, None
        if change.record is not None:
            try:
                after = table[change.ref] = kind.of(
                    change.ref, _slim(change.record), keep_raw=False
                )
            except BadRecord as error:
                why = str(error)
        self._note_unreadable((change.class_name, change.ref), why)
        return before, after

    def _note_unreadable(self, key: tuple[str, str], why: str | None) -> None:
        if self.unreadable.pop(key, None) != why:
            self.unreadable_version += 1
        if why is not None:
            self.unreadable[key] = why


def _tree_of(vdi: VdiRecord | None) -> tuple[bool, str, str | None] | None:
    """What of a disk says which disks stand on which."""
    if vdi is None or not (vdi.hidden or vdi.parent):
        return None
    return vdi.hidden, vdi.parent, vdi.sr


def _slim(record: Record) -> Record:
    """Let go of what is not looked at: ten thousand VMs are held here."""
    config = record.get("other_config")
    if not isinstance(config, dict):
        return record
    marks: dict[str, Json] = {
        key: config[key]
        for key in config
        if key in MARK_KEYS or key.startswith((BEGUN_PREFIX, DONE_PREFIX))
    }
    return {**record, "other_config": marks}


def _join(index: dict[str, set[str]], key: str, ref: str, join: bool) -> None:
    if join:
        index[key].add(ref)
    elif key in index:
        index[key].discard(ref)
        if not index[key]:
            del index[key]
