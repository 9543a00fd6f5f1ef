"""From a pool's tables to the picture that the planner sees: VMs, their disks, marked snapshots.

Each VM is folded from its own records alone, so a batch of changes costs what it touches and not
what the pool holds. What cannot be understood is never silently missing: a VM with an unreadable
disk is shown as busy, because a backup of the other disks would look like one of the VM.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from reconciler.ids import DiskSnapshotUuid, DiskUuid, PoolName, SnapshotUuid, VmUuid
from reconciler.observed.marks import (
    REPLICA_KEYS,
    read_given_up,
    read_marks,
    read_offline,
    taken_at,
)
from reconciler.observed.pool import (
    SNAPSHOT_IN_PROGRESS,
    Disk,
    DiskSnapshot,
    Marks,
    OrphanDiskSnapshot,
    PoolView,
    PowerState,
    Snapshot,
    Vm,
)
from reconciler.observed.replica import Replica
from reconciler.observed.restore_marks import read_restoring
from reconciler.observed.restored import LooseDisk, RestoredVm
from reconciler.observers.pool_tables import PoolTables, Touched
from reconciler.observers.replica_fold import replica_of, storage
from reconciler.observers.restored_fold import (
    loose_disk_of,
    records_of,
    restored_of,
    sorted_vms,
)
from reconciler.xapi.events import Change
from reconciler.xapi.records import HINDERS_SNAPSHOT, VdiRecord, VmRecord

UNREADABLE_DISK = "unreadable disk"
"""Stands among a VM's operations when one of its disks makes no sense."""

_CHANGED_BLOCKS_ONLY = "cbt_metadata"  # a snapshot whose data was destroyed: no base, no source
_UNREADABLE_MAX = 100
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class NoPool(Exception):
    """There is no pool record, or no master that it names: not a pool that can be worked with."""


class PoolFold:
    """The picture of one pool, kept up to date batch by batch. Begin a new one at a whole batch."""

    def __init__(self, name: PoolName) -> None:
        self._name = name
        self._tables = PoolTables()
        self._vms: dict[VmUuid, Vm] = {}
        self._ref_of: dict[VmUuid, str] = {}
        self._uuid_of: dict[str, VmUuid] = {}
        self._orphans: dict[str, OrphanDiskSnapshot] = {}
        self._strays: dict[str, Snapshot] = {}
        self._replicas: dict[str, Replica] = {}
        self._restored: dict[str, RestoredVm] = {}
        self._loose: dict[str, LooseDisk] = {}
        self._odd: dict[str, tuple[str, ...]] = {}
        self._view: PoolView | None = None
        self._touched = Touched()
        self._pending: set[str] = set()
        self._twins: set[str] = set()
        self._changed = False

    def apply(self, changes: Sequence[Change], as_of: datetime) -> PoolView:
        """Take changes over and give the new picture. Raises NoPool."""
        self.take(changes)
        while not self.settle(len(changes) + 1):
            pass
        return self.view(as_of)

    def take(self, changes: Sequence[Change]) -> None:
        """Take changes over. Once all that belong together are taken, `settle` and `view`."""
        version = self._tables.unreadable_version
        self._tables.apply(changes, self._touched)
        self._changed |= self._touched.header or version != self._tables.unreadable_version

    def settle(self, count_max: int) -> bool:
        """Fold at most so many of the VMs that were touched; tell whether that was all.

        In pieces, because a whole pool takes seconds and others want their turn.
        """
        touched = self._touched
        if touched.everything:
            touched.everything = False
            touched.vms.update(self._tables.vms)
            touched.vdis.update(self._tables.vdis)
        self._pending.update(self._with_owners(touched.vms))
        touched.vms.clear()
        for _ in range(min(count_max, len(self._pending))):
            ref = self._pending.pop()
            self._changed |= self._fold_vm(ref)
            self._changed |= self._fold_stray(ref)
            self._changed |= self._fold_replica(ref)
            self._changed |= self._fold_restored(ref)
        return not self._pending

    def view(self, as_of: datetime) -> PoolView:
        """The picture, once all is settled. Raises NoPool.

        Where nothing that matters changed, it is the old picture with a newer `as_of`.
        """
        for ref in self._touched.vdis:
            self._changed |= self._fold_orphan(ref)
            self._changed |= self._fold_loose(ref)
        if self._changed or self._view is None:
            self._view = self._picture(as_of)
        else:
            self._view = replace(self._view, as_of=as_of)
        self._touched = Touched()
        self._changed = False
        return self._view

    def _with_owners(self, refs: set[str]) -> set[str]:
        """These VMs, the VMs that those among them are snapshots of, and all their snapshots."""
        found = set(refs)
        for ref in refs:
            record = self._tables.vms.get(ref)
            if record is not None and record.is_snapshot and record.snapshot_of is not None:
                found.add(record.snapshot_of)
            found.update(snapshot.ref for snapshot in self._tables.snapshots_of(ref))
        return found

    def _fold_vm(self, ref: str) -> bool:
        """Fold one VM anew; tell whether the picture of it, or what is odd about it, changed."""
        odd: list[str] = []
        vm = self._vm(ref, odd)
        self._twins.discard(ref)
        if vm is not None and self._ref_of.get(vm.uuid, ref) != ref:
            odd.append(f"VM {vm.uuid} is there twice; the second one is left out")
            self._twins.add(ref)
            vm = None
        changed = self._odd.pop(ref, ()) != tuple(odd)
        if odd:
            self._odd[ref] = tuple(odd)
        before = self._uuid_of.pop(ref, None)
        if before is not None and (vm is None or vm.uuid != before):
            del self._vms[before], self._ref_of[before]
            self._pending.update(self._twins)  # one of them may have waited for this uuid
            changed = True
        if vm is not None:
            changed |= self._vms.get(vm.uuid) != vm
            self._vms[vm.uuid] = vm
            self._ref_of[vm.uuid] = ref
            self._uuid_of[ref] = vm.uuid
        return changed

    def _fold_stray(self, ref: str) -> bool:
        before = self._strays.pop(ref, None)
        record = self._tables.vms.get(ref)
        if record is not None and record.is_snapshot and record.snapshot_of not in self._tables.vms:
            stray = self._snapshot(record, [], of=None)
            if stray.marks is not None or stray.name.startswith(SNAPSHOT_IN_PROGRESS):
                self._strays[ref] = stray
        return self._strays.get(ref) != before

    def _fold_replica(self, ref: str) -> bool:
        before = self._replicas.pop(ref, None)
        record = self._tables.vms.get(ref)
        replica = replica_of(self._tables, record) if record is not None else None
        if replica is not None:
            self._replicas[ref] = replica
        return replica != before

    def _fold_orphan(self, ref: str) -> bool:
        before = self._orphans.pop(ref, None)
        record = self._tables.vdis.get(ref)
        if record is not None and record.is_snapshot and not self._is_held(record):
            try:
                marks = read_marks(record.other_config, record.uuid)
            except ValueError:
                marks = None
            if marks is not None:
                self._orphans[ref] = OrphanDiskSnapshot(DiskSnapshotUuid(record.uuid), marks)
        return self._orphans.get(ref) != before

    def _fold_restored(self, ref: str) -> bool:
        before = self._restored.pop(ref, None)
        record = self._tables.vms.get(ref)
        restored = restored_of(record) if record is not None else None
        if restored is not None:
            self._restored[ref] = restored
        return restored != before

    def _fold_loose(self, ref: str) -> bool:
        before = self._loose.pop(ref, None)
        record = self._tables.vdis.get(ref)
        loose = None
        if record is not None and not record.is_snapshot:
            loose = loose_disk_of(record, held=self._is_held(record))
        if loose is not None:
            self._loose[ref] = loose
        return loose != before

    def _is_held(self, vdi: VdiRecord) -> bool:
        """Whether any VM but a control domain has this disk: then it is not left over."""
        if self._tables.is_memory(vdi.ref):
            return True
        for vbd in self._tables.vbds_of_vdi(vdi.ref):
            vm = self._tables.vms.get(vbd.vm or "")
            if vm is None or not vm.is_control_domain:
                return True
        return False

    def _vm(self, ref: str, odd: list[str]) -> Vm | None:
        record = self._tables.vms.get(ref)
        if record is None or record.is_snapshot or record.is_template or record.is_control_domain:
            return None
        if record.other_config.keys() & REPLICA_KEYS:
            return None
        if read_restoring(record.other_config, record.uuid) is not None:
            return None
        uuid = VmUuid(record.uuid)
        disks, all_readable = self._disks(record, odd)
        snapshots = [self._snapshot(each, odd, of=uuid) for each in self._tables.snapshots_of(ref)]
        busy = [name for name in record.operations if name in HINDERS_SNAPSHOT]
        return Vm(
            uuid=uuid,
            name=record.name,
            tags=frozenset(record.tags),
            power_state=_power_state(record, odd),
            disks=disks,
            snapshots=tuple(sorted(snapshots, key=lambda each: (each.taken_at, each.uuid))),
            busy=tuple(busy if all_readable else [*busy, UNREADABLE_DISK]),
            shut_down=read_offline(record.other_config, record.uuid),
            given_up=read_given_up(record.other_config, record.uuid),
        )

    def _disks(self, record: VmRecord, odd: list[str]) -> tuple[tuple[Disk, ...], bool]:
        disks, all_readable = [], True
        for vbd, vdi in self._tables.disks_of(record):
            if vdi is None:
                all_readable = False
                where = f"at position {vbd.position}" if vbd is not None else "at some position"
                odd.append(f"VM {record.uuid}: the disk {where} cannot be understood")
            elif vbd is not None:
                disks.append(
                    Disk(DiskUuid(vdi.uuid), vdi.name, vdi.size_bytes, self._sr(vdi), vbd.position)
                )
        disks.sort(key=lambda disk: (len(disk.position), disk.position))
        return tuple(disks), all_readable

    def _snapshot(self, record: VmRecord, odd: list[str], of: VmUuid | None) -> Snapshot:
        marks = _marks(record, odd, of)
        disks = []
        for _, vdi in self._tables.disks_of(record):
            if vdi is None:
                odd.append(f"snapshot {record.uuid}: one of its disks cannot be understood")
            elif vdi.type != _CHANGED_BLOCKS_ONLY:
                live = self._tables.vdis.get(vdi.snapshot_of or "")
                disks.append(
                    DiskSnapshot(
                        DiskSnapshotUuid(vdi.uuid),
                        DiskUuid(live.uuid) if live is not None else None,
                        vdi.size_bytes,
                        self._sr(vdi),
                    )
                )
        disks.sort(key=lambda disk: disk.uuid)
        return Snapshot(
            uuid=SnapshotUuid(record.uuid),
            name=record.name,
            taken_at=taken_at(marks) if marks is not None else record.snapshot_time or _NEVER,
            marks=marks,
            disks=tuple(disks),
        )

    def _sr(self, vdi: VdiRecord) -> str:
        sr = self._tables.srs.get(vdi.sr or "")
        return sr.uuid if sr is not None else ""

    def _picture(self, as_of: datetime) -> PoolView:
        pool = next(iter(self._tables.pools.values()), None)
        master = self._tables.hosts.get(pool.master or "") if pool is not None else None
        if pool is None or master is None:
            raise NoPool("it names no pool, or no master of it, that can be understood")
        # what is left over is told by who does *not* have it: all of them must have been understood
        blind = any(kind in {"VM", "VBD"} for kind, _ in self._tables.unreadable)
        orphans = () if blind else self._orphans.values()
        strays = () if blind else self._strays.values()
        loose = () if blind else self._loose.values()
        odd = [*self._tables.unreadable.values(), *chain.from_iterable(self._odd.values())]
        return PoolView(
            name=self._name,
            uuid=pool.uuid,
            label=pool.name,
            master=master.address,
            version=master.version,
            as_of=as_of,
            vms=dict(self._vms),
            orphans=tuple(sorted(orphans, key=lambda each: each.uuid)),
            strays=tuple(sorted(strays, key=lambda each: each.uuid)),
            unreadable=tuple(sorted(odd)[:_UNREADABLE_MAX]),
            srs=storage(self._tables),
            replicas=tuple(sorted(self._replicas.values(), key=_age)),
            hosts=len(self._tables.hosts),
            restored=sorted_vms(self._restored.values()),
            loose=tuple(sorted(loose, key=lambda each: (each.restore, each.disk))),
            restores=records_of(pool),
        )


def _age(replica: Replica) -> tuple[str, str, str]:
    """Sorts the oldest first, and in one order always."""
    return replica.stamp, replica.replica, replica.snapshot or ""


def _marks(record: VmRecord, odd: list[str], of: VmUuid | None) -> Marks | None:
    try:
        marks = read_marks(record.other_config, record.uuid)
    except ValueError as error:
        odd.append(f"snapshot {record.uuid}: {error}; it is left alone")
        return None
    if marks is not None and of is not None and marks.vm != of:
        odd.append(f"snapshot {record.uuid}: marked as one of another VM; it is left alone")
        return None
    return marks


def _power_state(record: VmRecord, odd: list[str]) -> PowerState:
    try:
        return PowerState(record.power_state)
    except ValueError:
        odd.append(f"VM {record.uuid}: power state {record.power_state[:40]!r} is taken as running")
        return PowerState.RUNNING
