"""From a pool's tables to what restores made there, and to what the pool says of them."""

from collections.abc import Iterable

from reconciler.ids import DiskUuid, RestoreId, VmUuid
from reconciler.observed.restore_marks import read_records, read_restored, read_restoring
from reconciler.observed.restored import LooseDisk, RestoredVm, RestoreRecord
from reconciler.xapi.records import HINDERS_SNAPSHOT, PoolRecord, VdiRecord, VmRecord


def restored_of(record: VmRecord) -> RestoredVm | None:
    """What a VM is to the restore that makes or made it; None if none did."""
    if record.is_snapshot or record.is_control_domain:
        return None
    making = read_restoring(record.other_config, record.uuid)
    restore = making or read_restored(record.other_config, record.uuid)
    if restore is None:
        return None
    busy = tuple(name for name in record.operations if name in HINDERS_SNAPSHOT)
    return RestoredVm(restore, VmUuid(record.uuid), record.name, making is None, busy)


def loose_disk_of(record: VdiRecord, *, held: bool) -> LooseDisk | None:
    """A disk that was made for a restore and that no VM has. held: one has it."""
    making = None if held else read_restoring(record.other_config, record.uuid)
    return None if making is None else LooseDisk(making, DiskUuid(record.uuid))


def records_of(pool: PoolRecord) -> dict[RestoreId, RestoreRecord]:
    """What the pool says of restores, by their ids."""
    return {record.restore: record for record in read_records(pool.other_config)}


def sorted_vms(found: Iterable[RestoredVm]) -> tuple[RestoredVm, ...]:
    """In one order always."""
    return tuple(sorted(found, key=lambda each: (each.restore, each.vm)))
