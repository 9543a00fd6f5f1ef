"""Disks attached to VMs: what a transfer does to the control domain, and what a VM's start does.

While a transfer runs, the VDI has a VBD on dom0, read-only for an export and read-write for an
import. That VBD is why a `VDI.destroy` can meet `VDI_IN_USE` for a moment after the last byte.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.lab.database import Row
from reconciler.lab.failures import Failure, backend_failure
from reconciler.lab.pool import Pool
from reconciler.lab.values import Record

POSITIONS_MAX = 255


def attached_vbds(pool: Pool, vdi: Row) -> list[Row]:
    """The VBDs through which a disk is in use right now."""
    vbds = (pool.database.find("VBD", ref) for ref in vdi.members("VBDs"))
    return [vbd for vbd in vbds if vbd is not None and vbd.flag("currently_attached")]


def device_name(position: str) -> str:
    """`0` → `xvda`, `26` → `xvdaa`."""
    number, letters = int(position) if position.isdigit() else 0, ""
    while True:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
        if number < 0:
            return f"xvd{letters}"


def free_position(pool: Pool, vm: Row, class_name: str = "VBD") -> list[str]:
    """The positions that no device of the VM takes."""
    field, relation = ("userdevice", "VBDs") if class_name == "VBD" else ("device", "VIFs")
    devices = (pool.database.find(class_name, ref) for ref in vm.members(relation))
    taken = {device.text(field) for device in devices if device is not None}
    count = POSITIONS_MAX if class_name == "VBD" else 7
    return [str(number) for number in range(count) if str(number) not in taken]


def attach(pool: Pool, vdi: Row, vm: str, host: str, mode: str) -> Row:
    """Plug a disk into the control domain (under the database's lock).

    Raises:
        Failure: when somebody else writes it, or when this would write what others read.
    """
    in_use = attached_vbds(pool, vdi)
    if any(vbd.text("mode") == "RW" for vbd in in_use) or (mode == "RW" and in_use):
        raise backend_failure(46, "The VDI is not available", f"VDI {vdi.text('uuid')} is attached")
    if not pool.sees(host, vdi.text("SR")):
        raise Failure("SR_HAS_NO_PBDS", vdi.text("SR"))
    position = free_position(pool, pool.database.row("VM", vm))[0]
    values: Record = {
        "VM": vm,
        "VDI": vdi.ref,
        "userdevice": position,
        "device": device_name(position),
        "bootable": False,
        "mode": mode,
        "type": "Disk",
        "empty": False,
        "currently_attached": True,
        "unpluggable": True,
    }
    vbd = pool.database.create("VBD", values)
    pool.database.update_map(vdi, "sm_config", {f"host_{host}": mode})
    return vbd


def detach(pool: Pool, vbd: Row, host: str) -> None:
    """Unplug and remove what `attach` made; a client may have done so before."""
    with pool.database.transaction():
        vdi = pool.database.find("VDI", vbd.text("VDI"))
        pool.database.destroy(vbd)
        if vdi is not None and not attached_vbds(pool, vdi):
            pool.database.update_map(vdi, "sm_config", {f"host_{host}": None})


@contextmanager
def in_control_domain(pool: Pool, host: str, vdis: list[Row], mode: str) -> Iterator[None]:
    """Hold disks attached to a host's dom0 for a transfer."""
    vbds: list[Row] = []
    try:
        with pool.database.transaction():
            dom0 = pool.dom0(host)
            for vdi in vdis:
                vbds.append(attach(pool, vdi, dom0, host, mode))
        yield
    finally:
        if vbds and pool.settings.detach_delay_s:
            threading.Event().wait(pool.settings.detach_delay_s)
        for vbd in vbds:
            detach(pool, vbd, host)


def resync(pool: Pool) -> None:
    """What a starting toolstack does: unplug what dead transfers left in the control domains."""
    with pool.database.transaction():
        for host in pool.database.rows("host"):
            dom0 = pool.database.find("VM", host.text("control_domain"))
            for ref in dom0.members("VBDs") if dom0 is not None else []:
                detach(pool, pool.database.row("VBD", ref), host.ref)
        for class_name in ("VM", "VDI", "VBD", "SR"):
            for row in pool.database.rows(class_name):
                pool.database.set(row, current_operations={})
