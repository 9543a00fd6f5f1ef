"""Changed block tracking over VDIs: logs that follow snapshots, and the question what changed.

The log of a snapshot says what was written between its predecessor and itself; the live disk's
log says what was written since. `parent` and `child` chain them in time, by VDI uuid. All of it
is independent of the VHD trees and runs under the database's lock.
"""

from reconciler.lab.changes import ChangeLog, changed_since
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure, backend_failure
from reconciler.lab.pool import Pool

_UNRELATED = "Source and target VDI are unrelated"


def _put(pool: Pool, vdi: Row, log: ChangeLog) -> None:
    sr = pool.database.row("SR", vdi.text("SR")).text("uuid")
    _store(pool, vdi.text("uuid"), sr, log)


def _store(pool: Pool, uuid: str, sr: str, log: ChangeLog) -> None:
    pool.disks.logs[uuid] = log
    pool.database.put_document(
        "log", uuid, {"sr": sr, "size": log.size, "parent": log.parent, "child": log.child}
    )


def _restore(pool: Pool, uuid: str) -> None:
    """Write the pointers of a log that changed."""
    stored, log = pool.database.document("log", uuid), pool.disks.logs[uuid]
    if stored is not None:
        _store(pool, uuid, str(stored["sr"]), log)


def _new_log(pool: Pool, vdi: Row, parent: str) -> None:
    uuid = vdi.text("uuid")
    disk = pool.disks.disks[uuid]
    log = ChangeLog(pool.disks.log_path(disk.sr, uuid), disk.size, parent)
    disk.log = log
    _put(pool, vdi, log)


def enable(pool: Pool, vdi: Row) -> None:
    """Begin to record what is written to a disk; a second time changes nothing."""
    if vdi.flag("is_a_snapshot"):
        raise Failure("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi.ref}")
    if vdi.text("type") not in ("system", "user"):
        raise Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, vdi.text("type"))
    if vdi.text("on_boot") != "persist":
        raise Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    with pool.database.transaction():
        if not vdi.flag("cbt_enabled"):
            disk = pool.disks.disks[vdi.text("uuid")]
            with disk.lock:
                _new_log(pool, vdi, "")
            pool.database.set(vdi, cbt_enabled=True)


def disable(pool: Pool, vdi: Row) -> None:
    with pool.database.transaction():
        if vdi.flag("cbt_enabled"):
            _drop(pool, vdi.text("uuid"), keep_history=False)
            pool.database.set(vdi, cbt_enabled=False)


def snapshotted(pool: Pool, vdi: Row, snapshot: Row) -> None:
    """The live disk's log becomes the snapshot's, and a fresh one begins."""
    uuid, taken = vdi.text("uuid"), snapshot.text("uuid")
    log = pool.disks.logs.get(uuid)
    if log is None:
        return
    disk = pool.disks.disks[uuid]
    with disk.lock:
        log.rename(pool.disks.log_path(disk.sr, taken))
        log.child = uuid
        _put(pool, snapshot, log)
        _new_log(pool, vdi, taken)
    before = pool.disks.logs.get(log.parent)
    if before is not None:
        before.child = taken
        _restore(pool, log.parent)
    pool.database.set(snapshot, cbt_enabled=True)


def destroyed(pool: Pool, vdi: Row) -> None:
    """A VDI goes: what its log knew moves into its successor's."""
    if vdi.text("uuid") in pool.disks.logs:
        _drop(pool, vdi.text("uuid"), keep_history=True)


def _drop(pool: Pool, uuid: str, *, keep_history: bool) -> None:
    log = pool.disks.logs.pop(uuid)
    disk = pool.disks.disks.get(uuid)
    if disk is not None:
        disk.log = None
    after, before = pool.disks.logs.get(log.child), pool.disks.logs.get(log.parent)
    if after is not None:
        after.parent = log.parent if keep_history else ""
        if keep_history:
            after.merge(log)
        _restore(pool, log.child)
    if before is not None:
        before.child = log.child if keep_history else ""
        _restore(pool, log.parent)
    log.remove_file()
    pool.database.drop_document("log", uuid)


def changed_blocks(pool: Pool, older: Row, newer: Row) -> str:
    """Base64 of a bitmap of 64 KiB blocks: what was written after `older` up to `newer`."""
    logs = pool.disks.logs
    start, end = older.text("uuid"), newer.text("uuid")
    if start == end:
        raise _unknown("Source and target VDI are same")
    if start not in logs or end not in logs:
        raise _unknown(_UNRELATED)
    between: list[ChangeLog] = []
    position = logs[start].child
    while position in logs:
        between.append(logs[position])
        if position == end:
            return _answer(between, newer)
        position = logs[position].child
    raise _unknown(_UNRELATED)


def _answer(logs: list[ChangeLog], newer: Row) -> str:
    if any(log.size > newer.number("virtual_size") for log in logs):
        raise backend_failure(459, "CBT log is inconsistent", "size mismatch")
    return changed_since(logs, newer.number("virtual_size"))


def _unknown(reason: str) -> Failure:
    return backend_failure(460, "Failed to calculate changed blocks for given VDIs.", reason)
