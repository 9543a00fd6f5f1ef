"""The messages of VBD, VIF, VTPM and console: what hangs on a machine."""

from reconciler.lab.attachments import attached_vbds, device_name, free_position
from reconciler.lab.cloning import random_mac
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure, backend_failure
from reconciler.lab.generic import constructor_values
from reconciler.lab.methods import Call, Registry
from reconciler.lab.values import NULL, Value

METHODS = Registry()
method = METHODS.method


@method("VBD.create(record:record)", asynchronous=True)
def create_vbd(call: Call, struct: dict[str, Value]) -> Value:
    database = call.pool.database
    values = constructor_values("VBD", struct)
    with database.transaction():
        vm = database.row("VM", str(values["VM"]))
        vdi_ref = str(values["VDI"])
        if not values["empty"]:
            vdi = database.row("VDI", vdi_ref)
            if vdi.text("type") == "cbt_metadata":
                raise Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, "cbt_metadata")
        for task, operation in vm.mapping("current_operations").items():
            if operation in ("migrate_send", "pool_migrate"):
                raise Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, operation, task)
        free = free_position(call.pool, vm)
        if values["userdevice"] == "autodetect":
            values["userdevice"] = free[0]
        elif values["userdevice"] not in free:
            raise Failure("DEVICE_ALREADY_EXISTS", str(values["userdevice"]))
        values["currently_attached"] = False
        return database.create("VBD", values).ref


@method("VBD.destroy(self:ref:VBD)", asynchronous=True)
def destroy_vbd(call: Call, ref: str) -> Value:
    database = call.pool.database
    with database.transaction():
        vbd = database.row("VBD", ref)
        if vbd.flag("currently_attached"):
            vm = vbd.text("VM")
            raise Failure("OPERATION_NOT_ALLOWED", f"VBD '{ref}' still attached to '{vm}'")
        database.destroy(vbd)
    return ""


def _require_running(call: Call, vbd: Row) -> Row:
    vm = call.pool.database.row("VM", vbd.text("VM"))
    state = vm.text("power_state")
    if state not in ("Running", "Paused"):
        raise Failure("VM_BAD_POWER_STATE", vm.ref, "running, paused", state.lower())
    return vm


@method("VBD.plug(self:ref:VBD)", asynchronous=True)
def plug_vbd(call: Call, ref: str) -> Value:
    database = call.pool.database
    with database.transaction():
        vbd = database.row("VBD", ref)
        _require_running(call, vbd)
        if vbd.flag("currently_attached"):
            raise Failure("DEVICE_ALREADY_ATTACHED", ref)
        vdi = database.find("VDI", vbd.text("VDI"))
        if vdi is not None and not vdi.flag("sharable"):
            users = attached_vbds(call.pool, vdi)
            if any("RW" in (user.text("mode"), vbd.text("mode")) for user in users):
                raise backend_failure(46, "The VDI is not available", "already attached")
        position = vbd.text("userdevice")
        database.set(vbd, currently_attached=True, device=device_name(position))
    return ""


def _unplug(call: Call, ref: str) -> None:
    database = call.pool.database
    with database.transaction():
        vbd = database.row("VBD", ref)
        if not vbd.flag("currently_attached"):
            raise Failure("DEVICE_ALREADY_DETACHED", ref)
        if not vbd.flag("unpluggable"):
            raise Failure("VBD_NOT_UNPLUGGABLE", ref)
        database.set(vbd, currently_attached=False, device="")


@method("VBD.unplug(self:ref:VBD)", asynchronous=True)
def unplug_vbd(call: Call, ref: str) -> Value:
    _require_running(call, call.pool.database.row("VBD", ref))
    _unplug(call, ref)
    return ""


@method("VBD.unplug_force(self:ref:VBD)", asynchronous=True)
def unplug_vbd_force(call: Call, ref: str) -> Value:
    _unplug(call, ref)
    return ""


@method("VBD.set_mode(self:ref:VBD, value:enum:vbd_mode)", asynchronous=True)
def set_vbd_mode(call: Call, ref: str, mode: str) -> Value:
    vbd = call.pool.database.row("VBD", ref)
    if vbd.flag("currently_attached"):
        raise Failure("OPERATION_NOT_ALLOWED", "The VBD is attached")
    call.pool.database.set(vbd, mode=mode)
    return ""


@method("VBD.eject(vbd:ref:VBD)", asynchronous=True)
def eject_vbd(call: Call, ref: str) -> Value:
    vbd = _removable(call, ref)
    if vbd.flag("empty"):
        raise Failure("VBD_IS_EMPTY", ref)
    call.pool.database.set(vbd, VDI=NULL, empty=True)
    return ""


@method("VBD.insert(vbd:ref:VBD, vdi:ref:VDI)", asynchronous=True)
def insert_vbd(call: Call, ref: str, vdi: str) -> Value:
    vbd = _removable(call, ref)
    if not vbd.flag("empty"):
        raise Failure("VBD_NOT_EMPTY", ref)
    call.pool.database.set(vbd, VDI=vdi, empty=False)
    return ""


def _removable(call: Call, ref: str) -> Row:
    vbd = call.pool.database.row("VBD", ref)
    if vbd.text("type") != "CD":
        raise Failure("VBD_NOT_REMOVABLE_MEDIA", ref)
    return vbd


@method("VIF.create(record:record)", asynchronous=True)
def create_vif(call: Call, struct: dict[str, Value]) -> Value:
    database = call.pool.database
    values = constructor_values("VIF", struct)
    with database.transaction():
        vm = database.row("VM", str(values["VM"]))
        database.row("network", str(values["network"]))
        free = free_position(call.pool, vm, "VIF")
        if values["device"] == "autodetect":
            values["device"] = free[0]
        elif values["device"] not in free:
            raise Failure("DEVICE_ALREADY_EXISTS", str(values["device"]))
        if values["MAC"] == "":
            values |= {"MAC": random_mac(), "MAC_autogenerated": True}
        values["currently_attached"] = False
        return database.create("VIF", values).ref


@method("VIF.destroy(self:ref:VIF)", asynchronous=True)
def destroy_vif(call: Call, ref: str) -> Value:
    database = call.pool.database
    with database.transaction():
        vif = database.row("VIF", ref)
        if vif.flag("currently_attached"):
            raise Failure("OPERATION_NOT_ALLOWED", f"VIF '{ref}' is attached")
        database.destroy(vif)
    return ""


@method("VIF.plug(self:ref:VIF)", asynchronous=True)
def plug_vif(call: Call, ref: str) -> Value:
    vif = call.pool.database.row("VIF", ref)
    if vif.flag("currently_attached"):
        raise Failure("DEVICE_ALREADY_ATTACHED", ref)
    call.pool.database.set(vif, currently_attached=True)
    return ""


@method("VIF.unplug(self:ref:VIF)", asynchronous=True)
def unplug_vif(call: Call, ref: str) -> Value:
    vif = call.pool.database.row("VIF", ref)
    if not vif.flag("currently_attached"):
        raise Failure("DEVICE_ALREADY_DETACHED", ref)
    call.pool.database.set(vif, currently_attached=False)
    return ""


@method("VTPM.create(vm:ref:VM, is_unique:bool)", asynchronous=True)
def create_vtpm(call: Call, vm: str, is_unique: bool) -> Value:
    database = call.pool.database
    with database.transaction():
        if database.row("VM", vm).members("VTPMs"):
            raise Failure("VTPM_MAX_AMOUNT_REACHED", "1")
        return database.create("VTPM", {"VM": vm, "is_unique": is_unique}).ref


@method("VTPM.destroy(self:ref:VTPM)", asynchronous=True)
def destroy_vtpm(call: Call, ref: str) -> Value:
    database = call.pool.database
    with database.transaction():
        vtpm = database.row("VTPM", ref)
        database.drop_document("vtpm", vtpm.text("uuid"))
        database.destroy(vtpm)
    return ""


@method("VTPM.get_contents(self:ref:VTPM)", asynchronous=True)
def get_vtpm_contents(call: Call, ref: str) -> Value:
    vtpm = call.pool.database.row("VTPM", ref)
    stored = call.pool.database.document("vtpm", vtpm.text("uuid"))
    return "" if stored is None else stored["contents"]


@method("VTPM.set_contents(self:ref:VTPM, contents:string)", asynchronous=True)
def set_vtpm_contents(call: Call, ref: str, contents: str) -> Value:
    vtpm = call.pool.database.row("VTPM", ref)
    call.pool.database.put_document("vtpm", vtpm.text("uuid"), {"contents": contents})
    return ""


@method("console.create(record:record)", asynchronous=True)
def create_console(call: Call, struct: dict[str, Value]) -> Value:
    return call.pool.database.create("console", constructor_values("console", struct)).ref


@method("console.destroy(self:ref:console)", asynchronous=True)
def destroy_console(call: Call, ref: str) -> Value:
    call.pool.database.destroy(call.pool.database.row("console", ref))
    return ""
