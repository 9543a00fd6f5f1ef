"""`GET /export_raw_vdi`: a disk or a difference of two, as a VHD stream or raw.

The answer's head is sent before the disk is attached, so a failing attach shows as a second
answer inside the body of a 200: that is how XAPI behaves, and clients must cope with it. The end
of the body is the end of the connection.

Order at the end: last byte, disk detached from dom0, task success, socket closed.
"""

from reconciler.lab import xmlrpc
from reconciler.lab.attachments import in_control_domain
from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.faults import DropConnection, FailCall, KillToolstack
from reconciler.lab.handlers import (
    Answered,
    authenticate,
    redirect_if_unseen,
    transfer_task,
)
from reconciler.lab.http import Request, error_page, head, refuse
from reconciler.lab.layers import BLOCK
from reconciler.lab.plans import Plan
from reconciler.lab.pool import Pool
from reconciler.lab.progress import Progress
from reconciler.lab.transfers import EXPORT, Transfer
from reconciler.lab.vhd_format import BITMAP, preamble
from reconciler.lab.volumes import disk_of
from reconciler.lab.wire import Connection

_TYPES = {"raw": "application/octet-stream", "vhd": "application/vhd"}
POINT = "http:GET /export_raw_vdi"


def export_raw_vdi(pool: Pool, request: Request) -> None:
    """The handler."""
    authenticate(pool, request, "export_raw_vdi")
    with transfer_task(pool, request, "Export raw VDI") as task:
        kind = (request.argument("format") or "raw").lower()
        if kind not in _TYPES:
            pool.tasks.fail(task, Failure("INTERNAL_ERROR", f"Unknown format {kind}"))
            refuse(request, "404 Not Found", version="HTTP/1.0")
            raise Answered
        vdi, base = _named(pool, request, task)
        redirect_if_unseen(pool, request, vdi.text("SR"))
        _send_head(request, vdi, kind, task)
        try:
            _transfer(pool, request, vdi, base, kind, task)
        except Failure as failure:
            pool.tasks.fail(task, failure)
            request.connection.send(second_answer(failure))
            return
        pool.tasks.succeed(task)


def _named(pool: Pool, request: Request, task: str) -> tuple[Row, Row | None]:
    name, base = request.argument("vdi"), request.argument("base")
    if not name:
        pool.tasks.fail(task, Failure("VDI_MISSING"))
        refuse(request, "400 Bad Request")
        raise Answered
    vdi = pool.database.by_ref_or_uuid("VDI", name)
    return vdi, pool.database.by_ref_or_uuid("VDI", base) if base else None


def _send_head(request: Request, vdi: Row, kind: str, task: str) -> None:
    name = f"{vdi.text('uuid')}.{kind}"
    fields = {
        "Connection": "close",
        "task-id": task,
        "content-type": _TYPES[kind],
        "content-disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-cache, no-store",
    }
    request.connection.send(head("200 OK", fields))


def second_answer(failure: Failure) -> bytes:
    """The text of a refusal after the head was sent."""
    text = f"{failure.code}: [ {'; '.join(failure.params)} ]"
    fields = {"content-type": "text/html", "connection": "close"}
    return head("500 Internal Error", fields) + error_page("500 internal error", text)


def arm(pool: Pool, connection: Connection, point: str) -> None:
    """Let a fault that waits at this point act on the transfer."""
    fault = pool.faults.take(point)
    match fault:
        case FailCall():
            raise Failure(fault.code, *fault.params)
        case DropConnection():
            connection.drop_after(fault.after_bytes, reset=fault.reset)
        case KillToolstack():
            connection.drop_after(fault.after_bytes, reset=True)
            connection.on_drop = lambda: pool.kill_toolstack(fault.refuse_s)
        case None:
            pass


def _transfer(
    pool: Pool, request: Request, vdi: Row, base: Row | None, kind: str, task: str
) -> None:
    connection = request.connection
    arm(pool, connection, POINT)
    disk = disk_of(pool, vdi)
    if base is not None and base.text("uuid") not in pool.disks.disks:
        raise Failure("INTERNAL_ERROR", "Cannot compute differences on non-VHD images")
    held = [vdi] if base is None or base is vdi else [vdi, base]
    below = base.text("uuid") if base is not None else ""
    with (
        pool.transfers.under_way(EXPORT, vdi.text("uuid"), connection, below) as transfer,
        in_control_domain(pool, request.host, held, "RO"),
    ):
        base_disk = None if base is None else disk_of(pool, base)
        plan = pool.disks.plan(disk, base_disk)
        parent = None
        if base_disk is not None:
            path = f"/run/sr-mount/{disk.sr}/{base_disk.uuid}.vhd"
            parent = (base_disk.layer.id, path)
        try:
            progress = Progress(pool.tasks, task, len(plan.blocks))
            if kind == "vhd":
                _send_vhd(pool, connection, plan, parent, progress, transfer)
            else:
                _send_raw(pool, connection, plan, progress, transfer)
        finally:
            plan.close()


def _send_vhd(
    pool: Pool,
    connection: Connection,
    plan: Plan,
    parent: tuple[str, str] | None,
    progress: Progress,
    transfer: Transfer,
) -> None:
    before, after = preamble(plan.size, plan.blocks, parent)
    connection.send(before)
    for block, source in zip(plan.blocks, plan.sources, strict=True):
        connection.send(BITMAP, more=True)
        if source < 0:
            connection.send_file(pool.zeros, 0, BLOCK)
        else:
            connection.send_file(source, block * BLOCK, BLOCK)
        transfer.blocks.append(block)
        progress.step()
    connection.send(after)


def _send_raw(
    pool: Pool, connection: Connection, plan: Plan, progress: Progress, transfer: Transfer
) -> None:
    """The whole disk; what no layer holds (or did not change) is zeros."""
    position = 0
    for block, source in zip(plan.blocks, plan.sources, strict=True):
        _send_zeros(pool, connection, block * BLOCK - position)
        if source < 0:
            connection.send_file(pool.zeros, 0, BLOCK)
        else:
            connection.send_file(source, block * BLOCK, BLOCK)
        position = (block + 1) * BLOCK
        transfer.blocks.append(block)
        progress.step()
    _send_zeros(pool, connection, plan.size - position)


def _send_zeros(pool: Pool, connection: Connection, count: int) -> None:
    while count > 0:
        piece = min(count, BLOCK)
        connection.send_file(pool.zeros, 0, piece)
        count -= piece


def result_of(ref: str) -> str:
    """A task's result that is one reference."""
    return xmlrpc.encode(ref)
