"""The messages of VM that make, copy, change and remove machines. Power is in `calls_power`."""

from reconciler.lab import volumes
from reconciler.lab.attachments import free_position
from reconciler.lab.calls_disks import copy_disk
from reconciler.lab.cloning import copy_metrics, copy_vbd, copy_vifs, copy_vm, inherited
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.generic import constructor_values
from reconciler.lab.methods import Call, Registry
from reconciler.lab.operations import (
    assert_vm_operation,
    refresh_allowed,
    vdi_operation,
    vm_operation,
)
from reconciler.lab.pool import Pool
from reconciler.lab.power import halt, memory_image, possible_hosts
from reconciler.lab.values import NULL, Value, new_uuid

METHODS = Registry()
method = METHODS.method


@method("VM.create(record:record)", asynchronous=True)
def create(call: Call, struct: dict[str, Value]) -> Value:
    values = constructor_values("VM", struct)
    other = values.get("other_config")
    if isinstance(other, dict) and "mac_seed" not in other:
        values["other_config"] = {**other, "mac_seed": new_uuid()}
    # A VM cannot be created running.
    if values.get("power_state") not in ("Suspended", "Halted"):
        values["power_state"] = "Halted"
    with call.pool.database.transaction():
        metrics = call.pool.database.create("VM_metrics", {})
        vm = call.pool.database.create("VM", {**values, "metrics": metrics.ref, "domid": -1})
        refresh_allowed(call.pool, vm.ref)
    return vm.ref


@method("VM.destroy(vm:ref:VM)", asynchronous=True)
def destroy(call: Call, ref: str) -> Value:
    with vm_operation(call.pool, ref, "destroy", call.task) as vm:
        if vm.flag("is_default_template"):
            raise Failure("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", ref)
        destroy_vm(call.pool, vm)
    return ""


def destroy_vm(pool: Pool, vm: Row) -> None:
    """The record and its devices; the disks stay, and so does a suspended machine's memory."""
    database = pool.database
    with database.transaction():
        for relation, class_name in (("VBDs", "VBD"), ("VIFs", "VIF"), ("VTPMs", "VTPM")):
            for ref in vm.members(relation):
                device = database.row(class_name, ref)
                if class_name == "VTPM":
                    database.drop_document("vtpm", device.text("uuid"))
                database.destroy(device)
        for ref in vm.members("consoles"):
            database.destroy(database.row("console", ref))
        for field, class_name in (("metrics", "VM_metrics"), ("guest_metrics", "VM_guest_metrics")):
            metrics = database.find(class_name, vm.text(field))
            if metrics is not None:
                database.destroy(metrics)
        for ref in vm.members("children"):
            database.set(database.row("VM", ref), parent=vm.text("parent"))
        database.destroy(vm)


@method("VM.snapshot(vm:ref:VM, new_name:string, ignore_vdis:set(ref:VDI)=[])", asynchronous=True)
def snapshot(call: Call, ref: str, name: str, ignored: list[str]) -> Value:
    with vm_operation(call.pool, ref, "snapshot", call.task) as vm:
        return snapshot_vm(call, vm, name, frozenset(ignored)).ref


def snapshot_vm(call: Call, vm: Row, name: str, ignored: frozenset[str]) -> Row:
    """Disks one after another, then the record."""

    def copy_one(vdi: Row) -> Row:
        call.pool.tasks.check_cancelled(call.task)
        if vdi.text("on_boot") == "reset":
            raise Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
        with vdi_operation(call.pool, vdi.ref, "snapshot", call.task):
            return volumes.fork(call.pool, vdi, snapshot=True)

    copied = copy_vm(call.pool, vm, name, copy_one, snapshot=True, ignored=ignored)
    refresh_allowed(call.pool, copied.ref)
    return copied


@method("VM.snapshot_with_quiesce(vm:ref:VM, new_name:string)", asynchronous=True)
def snapshot_with_quiesce(call: Call, ref: str, name: str) -> Value:
    raise Failure("MESSAGE_REMOVED")


@method("VM.checkpoint(vm:ref:VM, new_name:string)", asynchronous=True)
def checkpoint(call: Call, ref: str, name: str) -> Value:
    """A snapshot with the machine's memory, which a paused one keeps to itself.

    A running machine is suspended for it, and goes on from a memory image that then goes.
    """
    pool = call.pool
    with vm_operation(pool, ref, "checkpoint", call.task) as vm:
        state = vm.text("power_state")
        copied = snapshot_vm(call, vm, name, frozenset())
        if state != "Paused":
            image = pool.database.find("VDI", vm.text("suspend_VDI")) or memory_image(pool, vm)
            memory = volumes.fork(pool, image, snapshot=True)
            if state == "Running":
                volumes.destroy(pool, image)
            pool.database.set(copied, power_state="Suspended", suspend_VDI=memory.ref)
            refresh_allowed(pool, copied.ref)
        return copied.ref


@method("VM.clone(vm:ref:VM, new_name:string)", asynchronous=True)
def clone(call: Call, ref: str, name: str) -> Value:
    def copy_one(vdi: Row) -> Row:
        with vdi_operation(call.pool, vdi.ref, "clone", call.task):
            return volumes.fork(call.pool, vdi, snapshot=False)

    with vm_operation(call.pool, ref, "clone", call.task) as vm:
        copied = copy_vm(call.pool, vm, name, copy_one, snapshot=False)
    refresh_allowed(call.pool, copied.ref)
    return copied.ref


@method("VM.copy(vm:ref:VM, new_name:string, sr:ref:SR)", asynchronous=True)
def copy(call: Call, ref: str, name: str, sr: str) -> Value:
    def copy_one(vdi: Row) -> Row:
        call.pool.tasks.check_cancelled(call.task)
        with vdi_operation(call.pool, vdi.ref, "copy", call.task):
            return copy_disk(call, vdi, sr)

    with vm_operation(call.pool, ref, "copy", call.task) as vm:
        copied = copy_vm(call.pool, vm, name, copy_one, snapshot=False)
    refresh_allowed(call.pool, copied.ref)
    return copied.ref


@method("VM.revert(snapshot:ref:VM)", asynchronous=True)
def revert(call: Call, ref: str) -> Value:
    """The machine's disks are replaced by new clones of the snapshot's."""
    pool, database = call.pool, call.pool.database
    with vm_operation(pool, ref, "revert", call.task) as taken:
        vm = database.find("VM", taken.text("snapshot_of"))
        if vm is None:
            raise Failure("VM_REVERT_FAILED", taken.text("snapshot_of"), ref)
        halt(pool, vm)
        old = [database.row("VBD", vbd) for vbd in vm.members("VBDs")]
        for vbd in [database.row("VBD", vbd) for vbd in taken.members("VBDs")]:
            vdi = database.find("VDI", vbd.text("VDI"))
            fresh = None
            if vdi is not None and vbd.text("type") == "Disk":
                fresh = volumes.fork(pool, vdi, snapshot=False)
                _follow(pool, vdi.text("snapshot_of"), fresh)
            copy_vbd(pool, vbd, vm, fresh)
        for vbd in old:
            vdi = database.find("VDI", vbd.text("VDI"))
            database.destroy(vbd)
            if vdi is not None and vbd.text("type") == "Disk":
                volumes.destroy(pool, vdi)
        for vif in vm.members("VIFs"):
            database.destroy(database.row("VIF", vif))
        copy_vifs(pool, taken, vm, new_addresses=False)
        _restore_fields(pool, taken, vm)
    refresh_allowed(pool, vm.ref)
    return ""


def _follow(pool: Pool, old: str, fresh: Row) -> None:
    """Snapshots of the replaced disk are now snapshots of the new one."""
    for row in pool.database.rows("VDI"):
        if row.text("snapshot_of") == old and old != NULL:
            pool.database.set(row, snapshot_of=fresh.ref)


_RESTORED = (
    *("name_description", "memory_static_max", "memory_dynamic_max", "memory_dynamic_min"),
    *("memory_static_min", "VCPUs_params", "VCPUs_max", "VCPUs_at_startup", "platform"),
    *("other_config", "xenstore_data", "HVM_boot_params", "HVM_boot_policy", "NVRAM"),
    *("PV_args", "PV_kernel", "PV_ramdisk", "PV_bootloader", "PV_bootloader_args"),
)


def _restore_fields(pool: Pool, taken: Row, vm: Row) -> None:
    values = inherited(taken)
    metrics = copy_metrics(pool, "VM_metrics", taken.text("metrics"))
    pool.database.set(
        vm, parent=taken.ref, metrics=metrics, **{name: values[name] for name in _RESTORED}
    )


@method(
    "VM.set_memory_limits(self:ref:VM, static_min:int, static_max:int, dynamic_min:int, "
    "dynamic_max:int)",
    asynchronous=True,
)
def set_memory_limits(
    call: Call, ref: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> Value:
    if not 0 <= static_min <= dynamic_min <= dynamic_max <= static_max:
        raise Failure("MEMORY_CONSTRAINT_VIOLATION", "Memory limits must be ordered")
    vm = call.pool.database.row("VM", ref)
    call.pool.database.set(
        vm,
        memory_static_min=static_min,
        memory_static_max=static_max,
        memory_dynamic_min=dynamic_min,
        memory_dynamic_max=dynamic_max,
    )
    return ""


@method("VM.set_memory(self:ref:VM, value:int)", asynchronous=True)
def set_memory(call: Call, ref: str, value: int) -> Value:
    vm = call.pool.database.row("VM", ref)
    call.pool.database.set(
        vm, memory_static_max=value, memory_dynamic_min=value, memory_dynamic_max=value
    )
    return ""


@method("VM.get_possible_hosts(vm:ref:VM)", asynchronous=True)
def get_possible_hosts(call: Call, ref: str) -> Value:
    return possible_hosts(call.pool, call.pool.database.row("VM", ref))


@method("VM.set_is_default_template(vm:ref:VM, value:bool)", asynchronous=True)
def set_is_default_template(call: Call, ref: str, value: bool) -> Value:
    call.pool.database.set(call.pool.database.row("VM", ref), is_default_template=value)
    return ""


@method("VM.get_allowed_VBD_devices(vm:ref:VM)")
def get_allowed_vbd_devices(call: Call, ref: str) -> Value:
    return free_position(call.pool, call.pool.database.row("VM", ref), "VBD")


@method("VM.get_allowed_VIF_devices(vm:ref:VM)")
def get_allowed_vif_devices(call: Call, ref: str) -> Value:
    return free_position(call.pool, call.pool.database.row("VM", ref), "VIF")


@method("VM.assert_operation_valid(self:ref:VM, op:string)", asynchronous=True)
def assert_operation_valid(call: Call, ref: str, operation: str) -> Value:
    assert_vm_operation(call.pool.database.row("VM", ref), operation)
    return ""


@method("VM.update_allowed_operations(self:ref:VM)", asynchronous=True)
def update_allowed_operations(call: Call, ref: str) -> Value:
    refresh_allowed(call.pool, ref)
    return ""
