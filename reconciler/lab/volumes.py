"""VDIs over the disk trees: what a storage manager does, and the records that clients see of it.

Every function runs under the database's lock (except copies, which take time) and leaves
`sm_config["vhd-parent"]`, base copies and sizes as a VHD SR shows them.
"""

from reconciler.lab import tracking
from reconciler.lab.database import Row
from reconciler.lab.disks import Disk
from reconciler.lab.failures import Failure, backend_failure
from reconciler.lab.layers import BLOCK, blocks_of
from reconciler.lab.pool import Pool
from reconciler.lab.values import NULL, Record, new_uuid, now

SIZE_MAX = 2040 << 30
_VHD_PARENT = "vhd-parent"


def disk_of(pool: Pool, vdi: Row) -> Disk:
    """The data of a VDI.

    Raises:
        Failure: when there is none (only its changed block log is left).
    """
    disk = pool.disks.disks.get(vdi.text("uuid"))
    if disk is None:
        raise Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, vdi.text("type"))
    return disk


def require_feature(pool: Pool, sr: Row, feature: str) -> None:
    """The SR's driver must be able to, and the SR attached somewhere."""
    if pool.host_seeing(sr.ref) == NULL:
        raise Failure("SR_HAS_NO_PBDS", sr.ref)
    for manager in pool.database.rows("SM"):
        if manager.text("type") == sr.text("type") and feature in manager.mapping("features"):
            return
    raise Failure("SR_OPERATION_NOT_SUPPORTED", sr.ref)


def rounded(size: int) -> int:
    """The size that a VHD SR makes of a wish."""
    if size < 0:
        raise backend_failure(79, "VDI Invalid size")
    size = max(1, blocks_of(size)) * BLOCK
    if size > SIZE_MAX:
        raise backend_failure(79, "VDI Invalid size", f"{size} is over the maximum of {SIZE_MAX}")
    return size


def create(pool: Pool, values: Record) -> Row:
    """A new empty VDI; `values` holds at least SR, virtual_size, type, sharable, read_only."""
    with pool.database.transaction():
        sr = pool.database.row("SR", str(values["SR"]))
        require_feature(pool, sr, "VDI_CREATE")
        size = rounded(int(str(values["virtual_size"])))
        uuid = str(values.get("uuid") or new_uuid())
        disk = pool.disks.create(uuid, sr.text("uuid"), size)
        return pool.database.create(
            "VDI",
            {
                **values,
                "uuid": uuid,
                "location": uuid,
                "virtual_size": size,
                "physical_utilisation": disk.utilisation,
                "managed": True,
            },
        )


# What a snapshot or clone takes over from its source.
_INHERITED = (
    *("name_label", "name_description", "type", "sharable", "other_config", "xenstore_data"),
    *("on_boot", "allow_caching", "tags", "SR"),
)


def fork(pool: Pool, vdi: Row, *, snapshot: bool) -> Row:
    """Snapshot or clone a VDI: two children of a new hidden base, or of the old one."""
    with pool.database.transaction():
        if not vdi.flag("managed"):
            raise Failure("VDI_NOT_MANAGED", vdi.ref)
        sr = pool.database.row("SR", vdi.text("SR"))
        require_feature(pool, sr, "VDI_SNAPSHOT" if snapshot else "VDI_CLONE")
        disk = disk_of(pool, vdi)
        if disk.depth >= pool.settings.chain_depth_max:
            raise backend_failure(109, "The snapshot chain is too long")
        uuid, base_uuid = new_uuid(), new_uuid()
        sibling, base = pool.disks.fork(disk, uuid, base_uuid)
        if base is not None:
            show_base(pool, sr.ref, base)
        values: Record = {name: vdi.value(name) for name in _INHERITED}
        values |= {
            "uuid": uuid,
            "location": uuid,
            "virtual_size": disk.size,
            "read_only": False,
            "managed": True,
            "physical_utilisation": sibling.utilisation,
        }
        if snapshot:
            values |= {"is_a_snapshot": True, "snapshot_of": vdi.ref, "snapshot_time": now()}
        copy = pool.database.create("VDI", values)
        show_parent(pool, disk)
        show_parent(pool, sibling)
        if snapshot:
            tracking.snapshotted(pool, vdi, copy)
    return copy


def show_base(pool: Pool, sr: str, base: Disk) -> Row:
    """The record of a hidden base copy."""
    row = pool.database.create(
        "VDI",
        {
            "uuid": base.uuid,
            "location": base.uuid,
            "name_label": "base copy",
            "SR": sr,
            "virtual_size": base.size,
            "physical_utilisation": base.utilisation,
            "type": "user",
            "managed": False,
            "read_only": True,
        },
    )
    show_parent(pool, base)
    return row


def show_parent(pool: Pool, disk: Disk) -> None:
    """Let `sm_config` and sizes of a VDI say what its tree says."""
    vdi = pool.database.by_uuid("VDI", disk.uuid)
    above = disk.layer.parent
    parent = pool.disks.owner(above).uuid if above is not None else None
    pool.database.update_map(vdi, "sm_config", {_VHD_PARENT: parent})
    pool.database.set(vdi, physical_utilisation=disk.utilisation)


def destroy(pool: Pool, vdi: Row) -> None:
    """Remove a VDI's record and data; the collector then tidies what hung above it."""
    with pool.database.transaction():
        sr = pool.database.row("SR", vdi.text("SR"))
        for ref in vdi.members("VBDs"):
            pool.database.destroy(pool.database.row("VBD", ref))
        tracking.destroyed(pool, vdi)
        disk = pool.disks.disks.get(vdi.text("uuid"))
        if disk is not None:
            pool.disks.remove(disk)
        pool.database.destroy(vdi)
    pool.kick_collector(sr.ref)


def drop_data(pool: Pool, vdi: Row) -> None:
    """`data_destroy`: the data goes, the record and its log stay."""
    with pool.database.transaction():
        disk = pool.disks.disks.get(vdi.text("uuid"))
        if disk is not None:
            pool.disks.remove(disk)
        pool.database.update_map(vdi, "sm_config", {_VHD_PARENT: None})
        pool.database.set(vdi, physical_utilisation=0)
    pool.kick_collector(vdi.text("SR"))


def resize(pool: Pool, vdi: Row, size: int) -> None:
    """Grow a VDI; shrinking is refused."""
    with pool.database.transaction():
        disk, wanted = disk_of(pool, vdi), rounded(size)
        if wanted < disk.size:
            raise Failure("VDI_TOO_SMALL", vdi.ref, str(disk.size))
        pool.disks.resize(disk, wanted)
        pool.database.set(vdi, virtual_size=wanted)


def copy_content(pool: Pool, source: Row, target: Row, base: Row | None = None) -> None:
    """Copy a disk's allocated blocks (or its difference to a base) onto another; takes time."""
    plan = pool.disks.plan(disk_of(pool, source), disk_of(pool, base) if base else None)
    into = disk_of(pool, target)
    piece = memoryview(bytearray(BLOCK))
    try:
        for position, block in enumerate(plan.blocks):
            plan.read_into(piece, position)
            into.write(block * BLOCK, piece)
    finally:
        plan.close()
    refresh(pool, target)


def refresh(pool: Pool, vdi: Row) -> None:
    """Sizes as a scan would find them."""
    with pool.database.transaction():
        disk = pool.disks.disks.get(vdi.text("uuid"))
        if disk is not None and pool.database.find("VDI", vdi.ref) is not None:
            pool.database.set(vdi, physical_utilisation=disk.utilisation)
            refresh_sr(pool, pool.database.row("SR", vdi.text("SR")))


def refresh_sr(pool: Pool, sr: Row) -> None:
    """An SR's totals from its VDIs."""
    vdis = [pool.database.row("VDI", ref) for ref in sr.members("VDIs")]
    pool.database.set(
        sr,
        physical_utilisation=sum(vdi.number("physical_utilisation") for vdi in vdis),
        virtual_allocation=sum(vdi.number("virtual_size") for vdi in vdis),
    )
