"""The messages of pool, host and network."""

from reconciler.lab.failures import Failure
from reconciler.lab.generic import constructor_values
from reconciler.lab.methods import Call, Registry
from reconciler.lab.values import Value, now

METHODS = Registry()
method = METHODS.method


@method("pool.sync_database()", asynchronous=True)
def sync_database(call: Call) -> Value:
    return ""


@method("pool.is_slave(host:ref:host)")
def is_slave(call: Call, host: str) -> Value:
    return host != call.pool.master


@method("pool.has_extension(self:ref:pool, name:string)", asynchronous=True)
def has_extension(call: Call, pool: str, name: str) -> Value:
    return False


@method("pool.get_license_state(self:ref:pool)", asynchronous=True)
def get_license_state(call: Call, pool: str) -> Value:
    return {"edition": "xcp-ng", "expiry": "never"}


@method("pool.designate_new_master(host:ref:host)", asynchronous=True)
def designate_new_master(call: Call, host: str) -> Value:
    """The new master's toolstack restarts, so every session ends."""
    call.pool.database.set(call.pool.record, master=host)
    call.pool.kill_toolstack(0.0)
    return ""


@method("host.get_servertime(host:ref:host)")
def get_servertime(call: Call, host: str) -> Value:
    return now()


@method("host.get_server_certificate(host:ref:host)", asynchronous=True)
def get_server_certificate(call: Call, host: str) -> Value:
    return call.pool.certificate


@method("host.enable(host:ref:host)", asynchronous=True)
def enable(call: Call, host: str) -> Value:
    call.pool.database.set(call.pool.database.row("host", host), enabled=True)
    return ""


@method("host.disable(host:ref:host, auto_enable:bool=true)", asynchronous=True)
def disable(call: Call, host: str, auto_enable: bool) -> Value:
    call.pool.database.set(call.pool.database.row("host", host), enabled=False)
    return ""


@method("host.compute_free_memory(host:ref:host)", asynchronous=True)
def compute_free_memory(call: Call, host: str) -> Value:
    database = call.pool.database
    metrics = database.row("host_metrics", database.row("host", host).text("metrics"))
    residents = [
        database.row("VM", ref) for ref in database.row("host", host).members("resident_VMs")
    ]
    used = sum(vm.number("memory_dynamic_max") for vm in residents)
    return max(0, metrics.number("memory_total") - used)


@method("host.has_extension(host:ref:host, name:string)", asynchronous=True)
def host_has_extension(call: Call, host: str, name: str) -> Value:
    return False


@method("host.restart_agent(host:ref:host)", asynchronous=True)
def restart_agent(call: Call, host: str) -> Value:
    call.pool.kill_toolstack(0.0)
    return ""


_PLUGINS: dict[str, tuple[str, ...]] = {
    "coalesce-leaf": ("leaf-coalesce",),
    "trim": ("do_trim",),
}


@method(
    "host.call_plugin(host:ref:host, plugin:string, fn:string, args:map(string,string))",
    asynchronous=True,
)
def call_plugin(call: Call, host: str, plugin: str, function: str, args: dict[str, str]) -> Value:
    if plugin not in _PLUGINS:
        raise Failure("XENAPI_MISSING_PLUGIN", plugin)
    if function not in _PLUGINS[plugin]:
        raise Failure("UNKNOWN_XENAPI_PLUGIN_FUNCTION", function)
    database = call.pool.database
    if plugin == "trim":
        database.by_uuid("SR", args.get("sr_uuid", ""))
        return "True"
    vm = database.by_uuid("VM", args.get("vm_uuid", ""))
    vbds = (database.row("VBD", ref) for ref in vm.members("VBDs"))
    vdis = (database.find("VDI", vbd.text("VDI")) for vbd in vbds)
    storages = {vdi.text("SR") for vdi in vdis if vdi is not None}
    for storage in storages:
        call.pool.kick_collector(storage)
    return "Success" if storages else "VM has no leaf-coalesceable VDIs"


@method("network.create(record:record)", asynchronous=True)
def create_network(call: Call, struct: dict[str, Value]) -> Value:
    return call.pool.database.create("network", constructor_values("network", struct)).ref


@method("network.destroy(self:ref:network)", asynchronous=True)
def destroy_network(call: Call, ref: str) -> Value:
    network = call.pool.database.row("network", ref)
    if network.members("VIFs"):
        raise Failure("NETWORK_CONTAINS_VIF", *network.members("VIFs")[:1])
    if network.members("PIFs"):
        raise Failure("NETWORK_CONTAINS_PIF", *network.members("PIFs")[:1])
    call.pool.database.destroy(network)
    return ""


@method("network.add_purpose(self:ref:network, value:enum:network_purpose)", asynchronous=True)
def add_purpose(call: Call, ref: str, purpose: str) -> Value:
    """Secure and insecure NBD exclude each other in the whole pool."""
    database = call.pool.database
    with database.transaction():
        other = "insecure_nbd" if purpose == "nbd" else "nbd"
        if any(other in network.members("purpose") for network in database.rows("network")):
            raise Failure("NETWORK_INCOMPATIBLE_PURPOSES", purpose, other)
        network = database.row("network", ref)
        if purpose not in network.members("purpose"):
            database.set(network, purpose=[*network.members("purpose"), purpose])
    return ""


@method("network.remove_purpose(self:ref:network, value:enum:network_purpose)", asynchronous=True)
def remove_purpose(call: Call, ref: str, purpose: str) -> Value:
    network = call.pool.database.row("network", ref)
    kept = [one for one in network.members("purpose") if one != purpose]
    call.pool.database.set(network, purpose=kept)
    return ""


@method("secret.create(record:record)", asynchronous=True)
def create_secret(call: Call, struct: dict[str, Value]) -> Value:
    return call.pool.database.create("secret", constructor_values("secret", struct)).ref


@method("secret.destroy(self:ref:secret)", asynchronous=True)
def destroy_secret(call: Call, ref: str) -> Value:
    call.pool.database.destroy(call.pool.database.row("secret", ref))
    return ""
