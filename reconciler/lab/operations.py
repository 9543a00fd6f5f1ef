"""What may be done to a VM or VDI right now, and who does it: `current_operations`.

The order of the checks is XAPI's: blocked operations, template and snapshot rules, power state,
other operations. Another operation makes a caller wait, not fail: XAPI itself retries for two
hours, so a client sees a call that takes long.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.pool import Pool

WAITERS_MAX = 100

_POWER: dict[str, tuple[str, ...]] = {
    "export": ("Halted", "Suspended"),
    "destroy": ("Halted", "Suspended"),
    "clone": ("Halted", "Suspended"),
    "copy": ("Halted", "Suspended"),
    "checkpoint": ("Paused", "Suspended", "Running"),
    "start": ("Halted",),
    "start_on": ("Halted",),
    "pause": ("Running",),
    "unpause": ("Paused",),
    "suspend": ("Running",),
    "resume": ("Suspended",),
    "resume_on": ("Suspended",),
    "clean_shutdown": ("Running",),
    "clean_reboot": ("Running",),
    "hard_shutdown": ("Paused", "Suspended", "Running"),
    "hard_reboot": ("Paused", "Running"),
    "pool_migrate": ("Running",),
}
_OF_SNAPSHOTS = {
    *("revert", "reverting", "clone", "copy", "export", "destroy", "hard_shutdown"),
    *("metadata_export", "update_allowed_operations"),
}
_NOT_OF_TEMPLATES = {
    *("start", "start_on", "pause", "unpause", "suspend", "resume", "resume_on", "clean_shutdown"),
    *("clean_reboot", "hard_reboot", "pool_migrate", "migrate_send", "checkpoint"),
}
_OVERLAPPING = ({"clone", "copy", "export"}, {"snapshot", "checkpoint"})
_OVER_MOST = {"hard_shutdown", "hard_reboot"}
_LIVE_VDI = {"snapshot", "clone", "resize_online", "enable_cbt", "disable_cbt", "data_destroy"}
_NOT_OF_METADATA = {"snapshot", "clone", "copy", "resize", "resize_online"}
SHOWN = (
    *("snapshot", "clone", "copy", "export", "destroy", "checkpoint", "start", "start_on"),
    *("pause", "unpause", "suspend", "resume", "clean_shutdown", "clean_reboot"),
    *("hard_shutdown", "hard_reboot", "revert", "pool_migrate", "metadata_export"),
)


def _vm_refusal(vm: Row, operation: str) -> Failure | None:
    reason = vm.mapping("blocked_operations").get(operation)
    if reason is not None:
        return Failure("OPERATION_BLOCKED", vm.ref, reason)
    if vm.flag("is_control_domain") and operation != "metadata_export":
        return Failure("OPERATION_NOT_ALLOWED", "This operation is not allowed on dom0")
    if vm.flag("is_a_snapshot") and operation not in _OF_SNAPSHOTS:
        return Failure("VM_IS_SNAPSHOT", vm.ref, operation)
    if vm.flag("is_a_template") and operation in _NOT_OF_TEMPLATES:
        return Failure("VM_IS_TEMPLATE", vm.ref)
    allowed = _POWER.get(operation)
    state = vm.text("power_state")
    if operation in ("clone", "copy") and not vm.flag("is_a_snapshot"):
        allowed = ("Halted",)
    if allowed is not None and state not in allowed:
        return Failure("VM_BAD_POWER_STATE", vm.ref, ", ".join(allowed).lower(), state.lower())
    return None


def _vm_conflict(vm: Row, operation: str) -> Failure | None:
    for task, other in vm.mapping("current_operations").items():
        together = any({operation, other} <= group for group in _OVERLAPPING)
        if not together and operation not in _OVER_MOST:
            return Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, other, task)
    return None


def allowed_vm_operations(vm: Row) -> list[str]:
    """The advisory list of `VM.allowed_operations`."""
    return [
        operation
        for operation in SHOWN
        if _vm_refusal(vm, operation) is None and _vm_conflict(vm, operation) is None
    ]


def assert_vm_operation(vm: Row, operation: str) -> None:
    refusal = _vm_refusal(vm, operation) or _vm_conflict(vm, operation)
    if refusal is not None:
        raise refusal


def _attached(pool: Pool, vdi: Row) -> list[Row]:
    vbds = (pool.database.find("VBD", ref) for ref in vdi.members("VBDs"))
    return [vbd for vbd in vbds if vbd is not None and vbd.flag("currently_attached")]


def _vdi_refusal(pool: Pool, vdi: Row, operation: str) -> Failure | None:
    if vdi.text("type") == "cbt_metadata" and operation in _NOT_OF_METADATA:
        return Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, "cbt_metadata")
    attached = _attached(pool, vdi)
    if operation == "copy":
        attached = [vbd for vbd in attached if vbd.text("mode") == "RW"]
    if operation == "list_changed_blocks":
        attached = [vbd for vbd in attached if not _of_snapshot(pool, vbd)]
    if attached and operation not in _LIVE_VDI:
        return Failure("VDI_IN_USE", vdi.ref, operation)
    return None


def _of_snapshot(pool: Pool, vbd: Row) -> bool:
    vm = pool.database.find("VM", vbd.text("VM"))
    return vm is not None and vm.flag("is_a_snapshot")


def _vdi_conflict(vdi: Row) -> Failure | None:
    for task, other in vdi.mapping("current_operations").items():
        if other != "copy":
            return Failure("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi.ref, other, task)
    return None


class _Waiting:
    """How many calls wait for other operations, over all pools of the process."""

    count = 0


def _wait(pool: Pool, conflict: Failure, deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise conflict
    if _Waiting.count >= WAITERS_MAX:
        raise Failure("TOO_MANY_PENDING_TASKS")
    _Waiting.count += 1
    try:
        pool.database.wait(pool.settings.retry_s)
    finally:
        _Waiting.count -= 1


@contextmanager
def vm_operation(
    pool: Pool, ref: str, operation: str, task: str, wait_s: float | None = None
) -> Iterator[Row]:
    """Do something to a VM: refused, or shown in its `current_operations` meanwhile."""
    database = pool.database
    deadline = time.monotonic() + (pool.settings.wait_s if wait_s is None else wait_s)
    with database.transaction():
        while True:
            vm = database.row("VM", ref)
            refusal = _vm_refusal(vm, operation)
            if refusal is not None:
                raise refusal
            conflict = _vm_conflict(vm, operation)
            if conflict is None:
                break
            _wait(pool, conflict, deadline)
        database.update_map(vm, "current_operations", {task: operation})
        _refresh(pool, vm)
    try:
        yield vm
    finally:
        with database.transaction():
            still = database.find("VM", ref)
            if still is not None:
                database.update_map(still, "current_operations", {task: None})
                _refresh(pool, still)


def _refresh(pool: Pool, vm: Row) -> None:
    pool.database.set(vm, allowed_operations=allowed_vm_operations(vm))


def refresh_allowed(pool: Pool, ref: str) -> None:
    with pool.database.transaction():
        _refresh(pool, pool.database.row("VM", ref))


@contextmanager
def vdi_operation(pool: Pool, ref: str, operation: str, task: str) -> Iterator[Row]:
    """Do something to a VDI, as `vm_operation` does for VMs."""
    database = pool.database
    deadline = time.monotonic() + pool.settings.wait_s
    with database.transaction():
        while True:
            vdi = database.row("VDI", ref)
            conflict = _vdi_conflict(vdi)
            if conflict is None or operation == "copy":
                break
            _wait(pool, conflict, deadline)
        refusal = _vdi_refusal(pool, vdi, operation)
        if refusal is not None:
            raise refusal
        database.update_map(vdi, "current_operations", {task: operation})
    try:
        yield vdi
    finally:
        with database.transaction():
            still = database.find("VDI", ref)
            if still is not None:
                database.update_map(still, "current_operations", {task: None})
