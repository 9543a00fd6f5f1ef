"""The messages of VDI: creation, snapshots, copies, resizing and changed block tracking."""

import time

from reconciler.lab import tracking, volumes
from reconciler.lab.attachments import attached_vbds
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.generic import constructor_values
from reconciler.lab.methods import Call, Registry
from reconciler.lab.operations import vdi_operation
from reconciler.lab.values import NULL, Value

METHODS = Registry()
method = METHODS.method

# How long data_destroy waits for the VBDs of a VDI to vanish, as in XAPI.
_DETACH_WAIT_S = 4.0


@method("VDI.create(record:record)", asynchronous=True)
def create(call: Call, struct: dict[str, Value]) -> Value:
    values = constructor_values("VDI", struct)
    if values["type"] == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", NULL, "cbt_metadata")
    # Only these fields reach the storage manager; the rest of the record is its answer.
    kept = (
        *("name_label", "name_description", "SR", "virtual_size", "type", "sharable"),
        *("read_only", "other_config", "xenstore_data", "sm_config", "tags"),
    )
    return volumes.create(call.pool, {name: values[name] for name in kept if name in values}).ref


@method("VDI.destroy(self:ref:VDI)", asynchronous=True)
def destroy(call: Call, ref: str) -> Value:
    with vdi_operation(call.pool, ref, "destroy", call.task) as vdi:
        _require_managed(vdi)
        volumes.destroy(call.pool, vdi)
    return ""


def _require_managed(vdi: Row) -> None:
    if not vdi.flag("managed"):
        raise Failure("VDI_NOT_MANAGED", vdi.ref)


@method("VDI.snapshot(vdi:ref:VDI, driver_params:map(string,string)={})", asynchronous=True)
def snapshot(call: Call, ref: str, driver_params: dict[str, str]) -> Value:
    with vdi_operation(call.pool, ref, "snapshot", call.task) as vdi:
        return volumes.fork(call.pool, vdi, snapshot=True).ref


@method("VDI.clone(vdi:ref:VDI, driver_params:map(string,string)={})", asynchronous=True)
def clone(call: Call, ref: str, driver_params: dict[str, str]) -> Value:
    with vdi_operation(call.pool, ref, "clone", call.task) as vdi:
        return volumes.fork(call.pool, vdi, snapshot=False).ref


@method(
    'VDI.copy(vdi:ref:VDI, sr:ref:SR="OpaqueRef:NULL", base_vdi:ref:VDI="OpaqueRef:NULL", '
    'into_vdi:ref:VDI="OpaqueRef:NULL")',
    asynchronous=True,
)
def copy(call: Call, ref: str, sr: str, base: str, into: str) -> Value:
    with vdi_operation(call.pool, ref, "copy", call.task) as vdi:
        return copy_disk(call, vdi, sr, base, into).ref


def copy_disk(call: Call, vdi: Row, sr: str, base: str = NULL, into: str = NULL) -> Row:
    """A full copy on another SR, or the difference to a base written onto an existing VDI."""
    database = call.pool.database
    if into == NULL:
        inherited = ("name_label", "name_description", "type", "sharable", "other_config", "tags")
        values = {name: vdi.value(name) for name in inherited}
        values |= {
            "SR": vdi.text("SR") if sr == NULL else sr,
            "virtual_size": vdi.number("virtual_size"),
            "read_only": False,
        }
        target = volumes.create(call.pool, values)
    else:
        target = database.row("VDI", into)
        if target.flag("read_only"):
            raise Failure("VDI_READONLY", into)
        if target.number("virtual_size") < vdi.number("virtual_size"):
            raise Failure("VDI_TOO_SMALL", into, str(vdi.number("virtual_size")))
    try:
        base_row = None if base == NULL else database.row("VDI", base)
        volumes.copy_content(call.pool, vdi, target, base_row)
    except BaseException:
        if into == NULL:
            volumes.destroy(call.pool, target)
        raise
    return target


@method("VDI.resize(vdi:ref:VDI, size:int)", asynchronous=True)
def resize(call: Call, ref: str, size: int) -> Value:
    with vdi_operation(call.pool, ref, "resize", call.task) as vdi:
        _require_managed(vdi)
        volumes.resize(call.pool, vdi, size)
    return ""


@method("VDI.resize_online(vdi:ref:VDI, size:int)", asynchronous=True)
def resize_online(call: Call, ref: str, size: int) -> Value:
    with vdi_operation(call.pool, ref, "resize_online", call.task) as vdi:
        _require_managed(vdi)
        volumes.resize(call.pool, vdi, size)
    return ""


@method("VDI.enable_cbt(self:ref:VDI)", asynchronous=True)
def enable_cbt(call: Call, ref: str) -> Value:
    with vdi_operation(call.pool, ref, "enable_cbt", call.task) as vdi:
        sr = call.pool.database.row("SR", vdi.text("SR"))
        volumes.require_feature(call.pool, sr, "VDI_CONFIG_CBT")
        tracking.enable(call.pool, vdi)
    return ""


@method("VDI.disable_cbt(self:ref:VDI)", asynchronous=True)
def disable_cbt(call: Call, ref: str) -> Value:
    with vdi_operation(call.pool, ref, "disable_cbt", call.task) as vdi:
        tracking.disable(call.pool, vdi)
    return ""


@method("VDI.list_changed_blocks(vdi_from:ref:VDI, vdi_to:ref:VDI)", asynchronous=True)
def list_changed_blocks(call: Call, older: str, newer: str) -> Value:
    with vdi_operation(call.pool, newer, "list_changed_blocks", call.task) as vdi:
        return tracking.changed_blocks(call.pool, call.pool.database.row("VDI", older), vdi)


@method("VDI.data_destroy(self:ref:VDI)", asynchronous=True)
def data_destroy(call: Call, ref: str) -> Value:
    database = call.pool.database
    with vdi_operation(call.pool, ref, "data_destroy", call.task) as vdi:
        if not vdi.flag("is_a_snapshot"):
            raise Failure("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {ref}")
        if not vdi.flag("cbt_enabled"):
            raise Failure("VDI_NO_CBT_METADATA", ref)
        if vdi.text("type") == "cbt_metadata":
            return ""
        kind = vdi.text("type")
        database.set(vdi, type="cbt_metadata")
        deadline = time.monotonic() + _DETACH_WAIT_S
        with database.transaction():
            while vdi.members("VBDs"):
                if time.monotonic() > deadline:
                    database.set(vdi, type=kind)
                    raise Failure("VDI_IN_USE", ref, "data_destroy")
                database.wait(0.2)
            volumes.drop_data(call.pool, vdi)
    return ""


@method("VDI.get_nbd_info(self:ref:VDI)")
def get_nbd_info(call: Call, ref: str) -> Value:
    """No network of this pool serves NBD, so there is never an address."""
    vdi = call.pool.database.row("VDI", ref)
    if vdi.text("type") == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", ref, "cbt_metadata")
    return []


@method("VDI.set_name_label(self:ref:VDI, value:string)", asynchronous=True)
def set_name_label(call: Call, ref: str, value: str) -> Value:
    _through_storage(call, ref, "name_label", value)
    return ""


@method("VDI.set_name_description(self:ref:VDI, value:string)", asynchronous=True)
def set_name_description(call: Call, ref: str, value: str) -> Value:
    _through_storage(call, ref, "name_description", value)
    return ""


def _through_storage(call: Call, ref: str, field: str, value: str) -> None:
    """Names live on the SR too, so it must be attached; it also re-reads the VDI."""
    vdi = call.pool.database.row("VDI", ref)
    if call.pool.host_seeing(vdi.text("SR")) == NULL:
        raise Failure("SR_HAS_NO_PBDS", vdi.text("SR"))
    call.pool.database.set(vdi, **{field: value})
    volumes.refresh(call.pool, vdi)


@method("VDI.set_on_boot(self:ref:VDI, value:enum:on_boot)", asynchronous=True)
def set_on_boot(call: Call, ref: str, value: str) -> Value:
    with vdi_operation(call.pool, ref, "set_on_boot", call.task) as vdi:
        if vdi.flag("cbt_enabled"):
            raise Failure("VDI_CBT_ENABLED", ref)
        call.pool.database.set(vdi, on_boot=value)
    return ""


@method("VDI.update(vdi:ref:VDI)", asynchronous=True)
def update(call: Call, ref: str) -> Value:
    volumes.refresh(call.pool, call.pool.database.row("VDI", ref))
    return ""


@method("VDI.forget(vdi:ref:VDI)", asynchronous=True)
def forget(call: Call, ref: str) -> Value:
    """Only the record of something without data may be forgotten here: data never leaks."""
    vdi = call.pool.database.row("VDI", ref)
    if attached_vbds(call.pool, vdi):
        raise Failure("VDI_IN_USE", ref, "forget")
    volumes.destroy(call.pool, vdi)
    return ""


@method("VDI.revert(snapshot:ref:VDI)", asynchronous=True)
def revert(call: Call, ref: str) -> Value:
    """The storage of this pool cannot, as no VHD SR can."""
    vdi = call.pool.database.row("VDI", ref)
    raise Failure("SR_OPERATION_NOT_SUPPORTED", vdi.text("SR"))
