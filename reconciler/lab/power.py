"""Power: what happens to records when a machine starts, stops, pauses and moves.

A started machine holds its disks (`currently_attached`), lives on a host and, a moment later, its
guest tools report. Functions here check placement and disks, not states: `operations` does that.
"""

import threading

from reconciler.lab import volumes
from reconciler.lab.attachments import attached_vbds, device_name
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure, backend_failure
from reconciler.lab.operations import refresh_allowed
from reconciler.lab.pool import Pool
from reconciler.lab.values import NULL, now


def possible_hosts(pool: Pool, vm: Row) -> list[str]:
    """The hosts that are enabled and see every disk: the affinity first, then the master."""
    vbds = (pool.database.row("VBD", ref) for ref in vm.members("VBDs"))
    vdis = (pool.database.find("VDI", vbd.text("VDI")) for vbd in vbds)
    storages = {vdi.text("SR") for vdi in vdis if vdi is not None}
    wanted = (vm.text("affinity"), pool.master, *pool.database.tables["host"])
    rows = [pool.database.find("host", host) for host in dict.fromkeys(wanted)]
    enabled = [row.ref for row in rows if row is not None and row.flag("enabled")]
    return [host for host in enabled if all(pool.sees(host, one) for one in storages)]


def place(pool: Pool, vm: Row) -> str:
    """Where a machine starts."""
    hosts = possible_hosts(pool, vm)
    if not hosts:
        raise Failure("NO_HOSTS_AVAILABLE")
    return hosts[0]


def start(pool: Pool, vm: Row, host: str, *, paused: bool) -> None:
    """Attach every disk, go to a host, and let the guest tools report soon.

    Raises:
        Failure: when a disk is written or read by somebody else.
    """
    database = pool.database
    with database.transaction():
        vbds = [database.row("VBD", ref) for ref in vm.members("VBDs")]
        vbds = [vbd for vbd in vbds if not vbd.flag("empty") and vbd.text("VDI") != NULL]
        for vbd in vbds:
            _require_free(pool, vbd)
        for vbd in vbds:
            position = vbd.text("userdevice")
            database.set(vbd, currently_attached=True, device=device_name(position))
        for ref in vm.members("VIFs"):
            database.set(database.row("VIF", ref), currently_attached=True)
        domains = [row.number("domid") for row in database.rows("VM")]
        database.set(
            vm,
            power_state="Paused" if paused else "Running",
            resident_on=host,
            domid=max([0, *domains]) + 1,
        )
        metrics = database.find("VM_metrics", vm.text("metrics"))
        if metrics is not None:
            database.set(metrics, start_time=now(), last_updated=now())
        refresh_allowed(pool, vm.ref)
    if not paused:
        report_later(pool, vm)


def _require_free(pool: Pool, vbd: Row) -> None:
    vdi = pool.database.row("VDI", vbd.text("VDI"))
    if pool.host_seeing(vdi.text("SR")) == NULL:
        raise Failure("SR_HAS_NO_PBDS", vdi.text("SR"))
    if vdi.text("type") == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, "cbt_metadata")
    if vdi.flag("sharable"):
        return
    users = attached_vbds(pool, vdi)
    if any("RW" in (user.text("mode"), vbd.text("mode")) for user in users):
        raise backend_failure(46, "The VDI is not available", f"VDI {vdi.text('uuid')} is attached")


def report_later(pool: Pool, vm: Row) -> None:
    """The guest tools report once the guest has booted."""
    timer = threading.Timer(pool.settings.guest_boot_s, _report, (pool, vm.ref))
    timer.daemon = True
    timer.start()


def _report(pool: Pool, ref: str) -> None:
    with pool.database.transaction():
        vm = pool.database.find("VM", ref)
        if vm is None or vm.text("power_state") != "Running":
            return
        if pool.database.find("VM_guest_metrics", vm.text("guest_metrics")) is not None:
            return
        metrics = pool.database.create(
            "VM_guest_metrics",
            {
                "os_version": {"name": "Lab GNU/Linux", "distro": "lab", "uname": "6.1.0"},
                "PV_drivers_version": {"major": "7", "minor": "20", "micro": "0", "build": "1"},
                "PV_drivers_up_to_date": True,
                "PV_drivers_detected": True,
                "networks": {"0/ip": "10.0.0.2", "0/ipv4/0": "10.0.0.2"},
                "live": True,
                "can_use_hotplug_vbd": "yes",
                "can_use_hotplug_vif": "yes",
                "last_updated": now(),
            },
        )
        pool.database.set(vm, guest_metrics=metrics.ref)


def halt(pool: Pool, vm: Row) -> None:
    """Take everything away that a running machine holds; harmless for a halted one."""
    database = pool.database
    with database.transaction():
        _release(pool, vm)
        memory = database.find("VDI", vm.text("suspend_VDI"))
        database.set(vm, power_state="Halted", suspend_VDI=NULL)
        if memory is not None:
            volumes.destroy(pool, memory)
        refresh_allowed(pool, vm.ref)


def _release(pool: Pool, vm: Row) -> None:
    """Disks, network and guest report of a domain that is gone."""
    database = pool.database
    for ref in vm.members("VBDs"):
        database.set(database.row("VBD", ref), currently_attached=False, device="")
    for ref in vm.members("VIFs"):
        database.set(database.row("VIF", ref), currently_attached=False)
    metrics = database.find("VM_guest_metrics", vm.text("guest_metrics"))
    if metrics is not None:
        database.destroy(metrics)
    database.set(vm, resident_on=NULL, domid=-1, guest_metrics=NULL)


def memory_image(pool: Pool, vm: Row) -> Row:
    """A new disk for a machine's memory, where the machine or the pool has such."""
    own = vm.text("suspend_SR")
    return volumes.create(
        pool,
        {
            "name_label": "Suspend image",
            "SR": pool.record.text("default_SR") if own == NULL else own,
            "virtual_size": vm.number("memory_static_max"),
            "type": "suspend",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        },
    )


def suspend(pool: Pool, vm: Row, memory: Row) -> None:
    """The domain is gone, its memory lies in a VDI."""
    with pool.database.transaction():
        _release(pool, vm)
        pool.database.set(vm, power_state="Suspended", suspend_VDI=memory.ref)
        refresh_allowed(pool, vm.ref)
