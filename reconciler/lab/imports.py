"""`PUT /import_raw_vdi`: write a VHD stream, raw bytes or raw chunks onto a disk.

The 200 goes out before the body is read; the outcome is in the task. A VHD's identity, parent and
type do not matter here: every run of sectors whose bitmap bit is 1 is written at its virtual
offset, in physical order, and nothing else is touched. So a difference is right iff the disk
holds its base.
"""

import struct

from reconciler.lab import volumes
from reconciler.lab.attachments import in_control_domain
from reconciler.lab.database import Row
from reconciler.lab.disks import Disk
from reconciler.lab.exports import arm, result_of, second_answer
from reconciler.lab.failures import Failure, device_error
from reconciler.lab.handlers import (
    Answered,
    authenticate,
    redirect_if_unseen,
    refuse_encoding,
    transfer_task,
)
from reconciler.lab.http import Request, head, refuse
from reconciler.lab.layers import BLOCK
from reconciler.lab.pool import Pool
from reconciler.lab.progress import Progress
from reconciler.lab.transfers import IMPORT
from reconciler.lab.values import Record
from reconciler.lab.vhd_format import (
    SECTOR,
    VhdError,
    parse_footer,
    parse_header,
    parse_table,
    runs,
    table_bytes,
)
from reconciler.lab.wire import Connection

POINT = "http:PUT /import_raw_vdi"
_FORMATS = ("raw", "vhd")


def import_raw_vdi(pool: Pool, request: Request) -> None:
    """The handler."""
    authenticate(pool, request, "import_raw_vdi")
    with transfer_task(pool, request, "Import raw VDI") as task:
        refuse_encoding(pool, request, task)
        kind = (request.argument("format") or "raw").lower()
        chunked = "chunked" in request.query or "chunked" in request.cookies
        problem = ""
        if kind not in _FORMATS:
            problem = f"Unknown format {kind}"
        elif chunked and kind == "vhd":
            problem = "Cannot handle chunked VHD"
        if problem:
            pool.tasks.fail(task, Failure("INTERNAL_ERROR", problem))
            refuse(request, "404 Not Found", version="HTTP/1.0")
            raise Answered
        vdi = _target(pool, request, kind, task)
        redirect_if_unseen(pool, request, vdi.text("SR"))
        fields = {"Connection": "close", "task-id": task, "Cache-Control": "no-cache, no-store"}
        request.connection.send(head("200 OK", fields))
        try:
            _receive(pool, request, vdi, kind, chunked, task)
        except (VhdError, ValueError):
            pool.tasks.fail(task, device_error())
            return
        except Failure as failure:
            pool.tasks.fail(task, failure)
            request.connection.send(second_answer(failure))
            return
        pool.tasks.succeed(task, result_of(vdi.ref))


def _target(pool: Pool, request: Request, kind: str, task: str) -> Row:
    """The named VDI, or (raw only) a new one on the named SR."""
    name = request.argument("vdi")
    if name:
        return pool.database.by_ref_or_uuid("VDI", name)
    storage = request.argument("sr_id") or request.argument("sr_uuid")
    length = request.content_length
    sr = pool.database.by_ref_or_uuid("SR", storage) if storage else None
    if kind != "raw" or length is None or sr is None or sr.text("content_type") == "iso":
        pool.tasks.fail(task, Failure("VDI_MISSING"))
        refuse(request, "400 Bad Request")
        raise Answered
    redirect_if_unseen(pool, request, sr.ref)
    values: Record = {
        "SR": sr.ref,
        "virtual_size": length,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
    }
    return volumes.create(pool, values)


def _receive(pool: Pool, request: Request, vdi: Row, kind: str, chunked: bool, task: str) -> None:
    arm(pool, request.connection, POINT)
    disk = volumes.disk_of(pool, vdi)
    if request.content_length == 0 and not chunked:
        # A client that only probes for a redirect; attaching would be in its real request's way.
        raise VhdError("an empty stream")
    with (
        pool.transfers.under_way(IMPORT, vdi.text("uuid"), request.connection),
        in_control_domain(pool, request.host, [vdi], "RW"),
    ):
        try:
            if chunked:
                _chunks(request.connection, disk)
            elif kind == "raw":
                _raw(request, disk, pool, task)
            else:
                length = request.content_length
                if length is None:
                    raise VhdError("Content-Length is required")
                VhdReceiver(request.connection, disk, length).run(pool, task)
        finally:
            volumes.refresh(pool, vdi)


def _raw(request: Request, disk: Disk, pool: Pool, task: str) -> None:
    length = request.content_length
    if length is None:
        raise VhdError("Content-Length is required")
    progress = Progress(pool.tasks, task, -(-length // BLOCK))
    buffer = memoryview(bytearray(BLOCK))
    offset = 0
    while offset < length:
        piece = buffer[: min(BLOCK, length - offset)]
        request.connection.read_exactly(piece)
        disk.write(offset, piece)
        offset += len(piece)
        progress.step()


def _chunks(connection: Connection, disk: Disk) -> None:
    """Repeated {u64 offset, u32 length, data}, little-endian; 0, 0 ends."""
    head_buffer = memoryview(bytearray(12))
    buffer = memoryview(bytearray(BLOCK))
    while True:
        connection.read_exactly(head_buffer)
        offset, length = struct.unpack("<QI", head_buffer)
        if offset == 0 and length == 0:
            return
        while length:
            piece = buffer[: min(BLOCK, length)]
            connection.read_exactly(piece)
            disk.write(offset, piece)
            offset += len(piece)
            length -= len(piece)


class VhdReceiver:
    """Walks a VHD stream of exactly `length` bytes and writes what it carries."""

    def __init__(self, connection: Connection, disk: Disk, length: int) -> None:
        self._connection = connection
        self._disk = disk
        self._length = length
        self._position = 0
        self._buffer = memoryview(bytearray(SECTOR + BLOCK))

    def run(self, pool: Pool, task: str) -> None:
        """Raises VhdError, ValueError (outside the disk) or Closed."""
        first = parse_footer(self._take(SECTOR))
        self._skip_to(first.data_offset)
        header = parse_header(self._take(1024))
        if header.table_offset < self._position:
            raise VhdError("the table lies before the end of the header")
        self._skip_to(header.table_offset)
        table = parse_table(self._take(table_bytes(header.entries)), header.entries)
        progress = Progress(pool.tasks, task, len(table))
        for offset, block in table:
            if offset < self._position:
                raise VhdError("blocks overlap")
            self._skip_to(offset)
            self._block(block)
            progress.step()
        # The tool looks for the footer where Content-Length says the last sector is.
        last = self._length // SECTOR * SECTOR - SECTOR
        if last < self._position:
            raise VhdError("shorter than its blocks")
        self._skip_to(last)
        parse_footer(self._take(SECTOR))

    def _take(self, count: int) -> bytes:
        if self._position + count > self._length:
            raise VhdError("shorter than it says")
        data = bytearray(count)
        self._connection.read_exactly(memoryview(data))
        self._position += count
        return bytes(data)

    def _skip_to(self, offset: int) -> None:
        if offset < self._position or offset > self._length:
            raise VhdError("an offset outside the stream")
        while self._position < offset:
            piece = self._buffer[: min(len(self._buffer), offset - self._position)]
            self._connection.read_exactly(piece)
            self._position += len(piece)

    def _block(self, block: int) -> None:
        if self._position + SECTOR + BLOCK > self._length:
            raise VhdError("a block outside the stream")
        self._connection.read_exactly(self._buffer)
        self._position += SECTOR + BLOCK
        data = self._buffer[SECTOR:]
        for start, end in runs(bytes(self._buffer[:SECTOR])):
            self._disk.write(block * BLOCK + start * SECTOR, data[start * SECTOR : end * SECTOR])
