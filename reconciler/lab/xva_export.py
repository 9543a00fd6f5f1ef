"""`GET /export` (a whole machine as XVA) and `GET /export_metadata` (its description alone)."""

from collections.abc import Iterator

from reconciler.lab import xmlrpc
from reconciler.lab.attachments import in_control_domain
from reconciler.lab.compression import GzipSink, PlainSink, Send, Sink, ZstdSink, has_zstd
from reconciler.lab.database import Row
from reconciler.lab.exports import arm
from reconciler.lab.failures import Failure
from reconciler.lab.faults import Dropped
from reconciler.lab.handlers import (
    Answered,
    authenticate,
    redirect_if_unseen,
    transfer_task,
)
from reconciler.lab.http import Request, head, refuse
from reconciler.lab.layers import BLOCK
from reconciler.lab.operations import vm_operation
from reconciler.lab.plans import Plan
from reconciler.lab.pool import Pool
from reconciler.lab.progress import Progress
from reconciler.lab.schema import TABLES
from reconciler.lab.transfers import EXPORT_VM
from reconciler.lab.values import NULL, Record, Value, now
from reconciler.lab.volumes import disk_of
from reconciler.lab.wire import Closed
from reconciler.lab.xva_format import CHUNK, END, checksum, member

POINT = "http:GET /export"
_ZEROS = bytes(CHUNK)
# Relations of a machine in the order in which XAPI lists the objects.
_ORDER = (
    *("host", "VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI", "SR"),
    "VTPM",
)


def gather(pool: Pool, vm: Row) -> dict[str, Row]:
    """Everything that a description of the machine names: Ref:N → object."""
    database = pool.database
    found: list[Row] = [vm]
    for field, class_name in (("metrics", "VM_metrics"), ("guest_metrics", "VM_guest_metrics")):
        row = database.find(class_name, vm.text(field))
        found += [row] if row is not None else []
    for ref in vm.members("VBDs"):
        vbd = database.row("VBD", ref)
        found.append(vbd)
        vdi = database.find("VDI", vbd.text("VDI"))
        if vdi is not None:
            found += [vdi, database.row("SR", vdi.text("SR"))]
    for ref in vm.members("VIFs"):
        vif = database.row("VIF", ref)
        found += [vif, database.row("network", vif.text("network"))]
    found += [database.row("VTPM", ref) for ref in vm.members("VTPMs")]
    host = database.find("host", vm.text("affinity"))
    found += [host] if host is not None else []
    unique = list({row.ref: row for row in found}.values())
    unique.sort(key=lambda row: _ORDER.index(row.table.name))
    return {f"Ref:{number}": row for number, row in enumerate(unique)}


def describe(pool: Pool, objects: dict[str, Row], *, keep_power: bool) -> bytes:
    """`ova.xml`."""
    names = {row.ref: name for name, row in objects.items()}
    versions = pool.database.row("host", pool.master).mapping("software_version")
    version: Record = {
        "hostname": "lab",
        "date": versions["date"],
        "product_version": versions["product_version"],
        "product_brand": versions["product_brand"],
        "build_number": versions["build_number"],
        "xapi_major": 1,
        "xapi_minor": 20,
        "export_vsn": 2,
    }
    listed: list[Value] = [
        {"class": row.table.name, "id": name, "snapshot": _portable(pool, row, names, keep_power)}
        for name, row in objects.items()
    ]
    return xmlrpc.encode({"version": version, "objects": listed}).encode()


def _portable(pool: Pool, row: Row, names: dict[str, str], keep_power: bool) -> Record:
    """A record with references to what is exported, and without what only holds here."""
    record = row.record()
    for field in TABLES[row.table.name].fields.values():
        if field.type.startswith("ref:"):
            record[field.name] = names.get(row.text(field.name), NULL)
        elif field.type.startswith("set(ref:"):
            members = row.members(field.name)
            record[field.name] = [names[ref] for ref in members if ref in names]
    if "current_operations" in record:
        record |= {"allowed_operations": [], "current_operations": {}}
    if row.table.name == "VM" and not keep_power:
        record |= {"power_state": "Halted", "suspend_VDI": NULL, "resident_on": NULL}
    if row.table.name == "VTPM":
        stored = pool.database.document("vtpm", row.text("uuid"))
        record["contents"] = stored["contents"] if stored is not None else ""
    return record


def export_metadata(pool: Pool, request: Request) -> None:
    """The handler of the description alone."""
    authenticate(pool, request, "export_metadata")
    with transfer_task(pool, request, "Export metadata") as task:
        vm = _named(pool, request)
        with pool.database.changed:
            text = describe(pool, gather(pool, vm), keep_power=True)
        body = b"".join(bytes(part) for part in member("ova.xml", text)) + END
        fields = {
            "Connection": "close",
            "task-id": task,
            "content-type": "application/octet-stream",
            "content-length": str(len(body)),
        }
        request.connection.send(head("200 OK", fields, "HTTP/1.0") + body)
        pool.tasks.succeed(task)


def _named(pool: Pool, request: Request) -> Row:
    ref, uuid = request.argument("ref"), request.argument("uuid")
    return pool.database.by_ref_or_uuid("VM", ref or uuid)


def export_vm(pool: Pool, request: Request) -> None:
    """The handler of whole machines."""
    authenticate(pool, request, "export")
    with transfer_task(pool, request, "Export of VM") as task:
        vm = _named(pool, request)
        disks = _disks(pool, vm)
        for vdi in disks:
            redirect_if_unseen(pool, request, vdi.text("SR"))
        wish = request.argument("use_compression")
        if wish == "zstd" and not has_zstd():
            pool.tasks.fail(task, Failure("INTERNAL_ERROR", "zstd is not installed"))
            refuse(request, "500 Internal Error", "zstd is not installed")
            raise Answered
        arm(pool, request.connection, POINT)
        wait_s = pool.settings.export_wait_s
        with (
            pool.transfers.under_way(EXPORT_VM, vm.text("uuid"), request.connection),
            vm_operation(pool, vm.ref, "export", task, wait_s),
            in_control_domain(pool, request.host, disks, "RO"),
        ):
            _send(pool, request, vm, wish, task)
        pool.tasks.succeed(task)


def _disks(pool: Pool, vm: Row) -> list[Row]:
    vbds = [pool.database.row("VBD", ref) for ref in vm.members("VBDs")]
    found = [
        pool.database.find("VDI", vbd.text("VDI")) for vbd in vbds if vbd.text("type") == "Disk"
    ]
    return [vdi for vdi in found if vdi is not None]


def _send(pool: Pool, request: Request, vm: Row, wish: str, task: str) -> None:
    fields = {
        "Connection": "close",
        "task-id": task,
        "content-type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="export.xva"',
        "Date": str(now()),
    }
    connection = request.connection
    connection.send(head("200 OK", fields, "HTTP/1.0"))
    sink = _sink(wish, connection.send)
    try:
        with pool.database.changed:
            objects = gather(pool, vm)
            text = describe(pool, objects, keep_power=False)
        for part in member("ova.xml", text):
            sink.write(part)
        _send_disks(pool, objects, sink, task)
        sink.write(END)
        sink.finish()
    except (OSError, Closed, Dropped) as error:
        sink.abandon()
        # A transfer of this kind says who ended it, unlike one of a disk.
        pool.tasks.fail(task, Failure("CLIENT_ERROR", str(error)))
        raise
    except BaseException:
        sink.abandon()
        raise


def _sink(wish: str, send: Send) -> Sink:
    match wish:
        case "true" | "gzip":
            return GzipSink(send)
        case "zstd":
            return ZstdSink(send)
        case _:
            return PlainSink(send)


def _send_disks(pool: Pool, objects: dict[str, Row], sink: Sink, task: str) -> None:
    disks = {name: row for name, row in objects.items() if _is_disk(pool, row)}
    total = sum(row.number("virtual_size") // CHUNK for row in disks.values())
    progress = Progress(pool.tasks, task, total)
    for name in sorted(disks):
        plan = pool.disks.plan(disk_of(pool, disks[name]), None)
        try:
            _send_disk(pool, name, plan, sink, task, progress)
        finally:
            plan.close()


def _is_disk(pool: Pool, row: Row) -> bool:
    if row.table.name != "VDI":
        return False
    return pool.database.row("SR", row.text("SR")).text("content_type") != "iso"


def _send_disk(
    pool: Pool, name: str, plan: Plan, sink: Sink, task: str, progress: Progress
) -> None:
    last = max(0, plan.size // CHUNK - 1)
    sent = -1
    for number, content in _chunks(plan, last):
        if content == _ZEROS and number not in (0, last):
            continue
        pool.tasks.check_cancelled(task)
        for part in member(f"{name}/{number:08d}", content):
            sink.write(part)
        for part in member(f"{name}/{number:08d}.checksum", checksum(content)):
            sink.write(part)
        progress.step(number - sent)
        sent = number


def _chunks(plan: Plan, last: int) -> Iterator[tuple[int, bytes]]:
    """The chunks of held blocks, and in any case the first and the last."""
    if not plan.blocks or plan.blocks[0] != 0:
        yield 0, _ZEROS
    buffer = memoryview(bytearray(BLOCK))
    number = 0
    for position, block in enumerate(plan.blocks):
        plan.read_into(buffer, position)
        for part in range(BLOCK // CHUNK):
            number = block * (BLOCK // CHUNK) + part
            yield number, bytes(buffer[part * CHUNK : (part + 1) * CHUNK])
    if number != last:
        yield last, _ZEROS
