"""The messages of SR and PBD."""

from reconciler.lab import volumes
from reconciler.lab.attachments import attached_vbds
from reconciler.lab.failures import Failure
from reconciler.lab.generic import constructor_values
from reconciler.lab.methods import Call, Registry
from reconciler.lab.values import NULL, Record, Value

METHODS = Registry()
method = METHODS.method


@method("SR.scan(sr:ref:SR)", asynchronous=True)
def scan(call: Call, ref: str) -> Value:
    pool = call.pool
    if pool.host_seeing(ref) == NULL:
        raise Failure("SR_HAS_NO_PBDS", ref)
    with pool.database.transaction():
        sr = pool.database.row("SR", ref)
        for vdi in sr.members("VDIs"):
            disk = pool.disks.disks.get(pool.database.row("VDI", vdi).text("uuid"))
            if disk is not None:
                row = pool.database.row("VDI", vdi)
                pool.database.set(row, physical_utilisation=disk.utilisation)
        volumes.refresh_sr(pool, sr)
    return ""


@method("SR.update(sr:ref:SR)", asynchronous=True)
def update(call: Call, ref: str) -> Value:
    return scan(call, ref)


@method(
    "SR.create(host:ref:host, device_config:map(string,string), physical_size:int, "
    "name_label:string, name_description:string, type:string, content_type:string, shared:bool, "
    "sm_config:map(string,string)={})",
    asynchronous=True,
)
def create(
    call: Call,
    host: str,
    device_config: dict[str, str],
    size: int,
    name: str,
    description: str,
    kind: str,
    content_type: str,
    shared: bool,
    sm_config: dict[str, str],
) -> Value:
    database = call.pool.database
    if not any(manager.text("type") == kind for manager in database.rows("SM")):
        raise Failure("SR_UNKNOWN_DRIVER", kind)
    with database.transaction():
        sr = database.create(
            "SR",
            {
                "name_label": name,
                "name_description": description,
                "type": kind,
                "content_type": content_type or "user",
                "shared": shared,
                "physical_size": size or 1 << 40,
                "sm_config": sm_config,
            },
        )
        for member in database.tables["host"] if shared else [host]:
            values: Record = {"host": member, "SR": sr.ref, "device_config": device_config}
            database.create("PBD", {**values, "currently_attached": True})
    return sr.ref


@method("SR.forget(sr:ref:SR)", asynchronous=True)
def forget(call: Call, ref: str) -> Value:
    """Remove an SR whose PBDs are unplugged; here only an empty one, data never leaks."""
    return destroy(call, ref)


@method("SR.destroy(sr:ref:SR)", asynchronous=True)
def destroy(call: Call, ref: str) -> Value:
    database = call.pool.database
    with database.transaction():
        sr = database.row("SR", ref)
        if sr.members("VDIs"):
            raise Failure("SR_NOT_EMPTY")
        for pbd in sr.members("PBDs"):
            database.destroy(database.row("PBD", pbd))
        database.destroy(sr)
    return ""


@method("SR.get_supported_types()")
def get_supported_types(call: Call) -> Value:
    return [manager.text("type") for manager in call.pool.database.rows("SM")]


@method("SR.get_live_hosts(sr:ref:SR)", asynchronous=True)
def get_live_hosts(call: Call, ref: str) -> Value:
    return [host for host in call.pool.database.tables["host"] if call.pool.sees(host, ref)]


@method("PBD.create(record:record)", asynchronous=True)
def create_pbd(call: Call, struct: dict[str, Value]) -> Value:
    database = call.pool.database
    values = constructor_values("PBD", struct)
    host, sr = str(values["host"]), str(values["SR"])
    with database.transaction():
        database.row("host", host)
        database.row("SR", sr)
        for pbd in database.rows("PBD"):
            if pbd.text("host") == host and pbd.text("SR") == sr:
                raise Failure("PBD_EXISTS", sr, host, pbd.ref)
        return database.create("PBD", {**values, "currently_attached": False}).ref


@method("PBD.destroy(self:ref:PBD)", asynchronous=True)
def destroy_pbd(call: Call, ref: str) -> Value:
    pbd = call.pool.database.row("PBD", ref)
    if pbd.flag("currently_attached"):
        raise Failure("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    call.pool.database.destroy(pbd)
    return ""


@method("PBD.plug(self:ref:PBD)", asynchronous=True)
def plug_pbd(call: Call, ref: str) -> Value:
    pbd = call.pool.database.row("PBD", ref)
    call.pool.database.set(pbd, currently_attached=True)
    return ""


@method("PBD.unplug(self:ref:PBD)", asynchronous=True)
def unplug_pbd(call: Call, ref: str) -> Value:
    pool = call.pool
    with pool.database.transaction():
        pbd = pool.database.row("PBD", ref)
        sr = pool.database.row("SR", pbd.text("SR"))
        for vdi in (pool.database.row("VDI", name) for name in sr.members("VDIs")):
            for vbd in attached_vbds(pool, vdi):
                vm = pool.database.find("VM", vbd.text("VM"))
                if vm is not None and vm.text("resident_on") == pbd.text("host"):
                    raise Failure("VDI_IN_USE", vdi.ref, "detach")
        pool.database.set(pbd, currently_attached=False)
    return ""
