"""`PUT /import`: a machine from an XVA stream.

The 200 goes out before the body is read. The machine's records exist (with the import among its
`current_operations`, and `object_creation=complete` on the task) before its disks are filled, so
clients can find and mark it meanwhile. If anything fails, all of it is removed, unless `force`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

from reconciler.lab import volumes, xmlrpc
from reconciler.lab.calls_vms import destroy_vm
from reconciler.lab.cloning import random_mac
from reconciler.lab.compression import Source
from reconciler.lab.database import Row
from reconciler.lab.exports import arm
from reconciler.lab.failures import Failure
from reconciler.lab.handlers import (
    authenticate,
    redirect_if_unseen,
    refuse_encoding,
    transfer_task,
)
from reconciler.lab.http import Request, head
from reconciler.lab.methods import coerce
from reconciler.lab.operations import refresh_allowed
from reconciler.lab.pool import Pool
from reconciler.lab.schema import DERIVED, TABLES
from reconciler.lab.transfers import IMPORT_VM
from reconciler.lab.values import NULL, Record, Value, new_uuid
from reconciler.lab.xva_format import ENTRY, XvaError, members, verify

POINT = "http:PUT /import"
_OBJECTS_MAX = 10_000


def import_vm(pool: Pool, request: Request) -> None:
    """The handler."""
    authenticate(pool, request, "import")
    with transfer_task(pool, request, "Import of VM") as task:
        refuse_encoding(pool, request, task)
        sr = _storage(pool, request)
        redirect_if_unseen(pool, request, sr.ref)
        fields = {"Connection": "close", "task-id": task, "Cache-Control": "no-cache, no-store"}
        request.connection.send(head("200 OK", fields))
        source = None
        try:
            arm(pool, request.connection, POINT)
            source = Source(Body(request).receive)
            made = _Import(pool, sr, task, request)
            with pool.transfers.under_way(IMPORT_VM, "", request.connection):
                made.run(source)
        except XvaError as error:
            pool.tasks.fail(task, Failure(error.code, *error.params))
            return
        except Failure as failure:
            pool.tasks.fail(task, failure)
            return
        finally:
            if source is not None:
                source.close()
        pool.tasks.succeed(task, xmlrpc.encode([vm.ref for vm in made.machines]))


def _storage(pool: Pool, request: Request) -> Row:
    name = request.argument("sr_id") or request.argument("sr_uuid")
    if name:
        return pool.database.by_ref_or_uuid("SR", name)
    sr = pool.database.find("SR", pool.record.text("default_SR"))
    if sr is None:
        raise Failure("DEFAULT_SR_NOT_FOUND", pool.record.text("default_SR"))
    return sr


class Body:
    """A request's body; its end is that of the connection if the length was a lie (1 PiB)."""

    def __init__(self, request: Request) -> None:
        self._connection = request.connection
        length = request.content_length
        self._left = length if length is not None else 1 << 62

    def receive(self, count: int) -> bytes:
        buffer = bytearray(min(count, self._left))
        if not buffer:
            return b""
        got = self._connection.read_some(memoryview(buffer))
        self._left -= got
        return bytes(buffer[:got])


@dataclass(slots=True)
class _Filling:
    """How far a disk of the stream has come."""

    vdi: Row
    chunk: int = 0
    number: int = -1
    waiting: tuple[str, bytes] | None = None  # the chunk whose checksum comes next


class _Import:
    def __init__(self, pool: Pool, sr: Row, task: str, request: Request) -> None:
        self._pool = pool
        self._sr = sr
        self._task = task
        self._restore = request.argument("restore") == "true"
        self._force = request.argument("force") == "true"
        self.machines: list[Row] = []
        self._disks: dict[str, _Filling] = {}

    def run(self, source: Source) -> None:
        """Raises XvaError or Failure; then nothing is left of it, unless forced."""
        try:
            files = members(cast(BinaryIO, source))
            name, content = next(files, ("", b""))
            if name != "ova.xml":
                raise XvaError("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", name)
            with self._pool.database.transaction():
                self._create(_objects(content))
                task = self._pool.database.find("task", self._task)
                if task is not None:
                    creation = {"object_creation": "complete"}
                    self._pool.database.update_map(task, "other_config", creation)
            for name, content in files:
                self._pool.tasks.check_cancelled(self._task)
                self._take(name, content)
        except BaseException:
            if not self._force:
                self._remove()
            raise
        finally:
            self._release()

    def _release(self) -> None:
        database = self._pool.database
        with database.transaction():
            for vm in self.machines:
                if database.find("VM", vm.ref) is not None:
                    database.update_map(vm, "current_operations", {self._task: None})
                    refresh_allowed(self._pool, vm.ref)
            for filling in self._disks.values():
                if database.find("VDI", filling.vdi.ref) is not None:
                    volumes.refresh(self._pool, filling.vdi)

    def _remove(self) -> None:
        for vm in self.machines:
            destroy_vm(self._pool, vm)
        for filling in self._disks.values():
            volumes.destroy(self._pool, filling.vdi)

    # -- records ----------------------------------------------------------------------------------

    def _create(self, objects: dict[str, tuple[str, Record]]) -> None:
        refs: dict[str, str] = {}
        for name, (kind, record) in objects.items():
            if kind == "network":
                refs[name] = self._network(record)
            elif kind == "VM":
                refs[name] = self._machine(record).ref
        for name, (kind, record) in objects.items():
            if kind == "VDI" and self._exported(objects, record):
                refs[name] = self._disk(name, record)
        for kind, record in objects.values():
            if kind in ("VBD", "VIF", "VTPM"):
                self._device(kind, record, refs)

    def _exported(self, objects: dict[str, tuple[str, Record]], record: Record) -> bool:
        """Images in ISO repositories are not part of the stream."""
        sr = objects.get(str(record.get("SR")))
        return sr is None or sr[1].get("content_type") != "iso"

    def _network(self, record: Record) -> str:
        rows = self._pool.database.rows("network")
        for key in ("name_label", "bridge"):
            for row in rows:
                if row.text(key) == record.get(key):
                    return row.ref
        return rows[0].ref

    def _machine(self, record: Record) -> Row:
        database = self._pool.database
        values = _fields("VM", record)
        if self._restore:
            uuid = str(record.get("uuid") or new_uuid())
            for row in database.rows("VM"):
                if row.text("uuid") == uuid:
                    raise Failure("DUPLICATE_VM", row.ref)
            values["uuid"] = uuid
        values |= {
            "power_state": "Halted",
            "current_operations": {self._task: "import"},
            "is_a_snapshot": False,
            "snapshot_of": NULL,
            "domid": -1,
            "metrics": database.create("VM_metrics", {}).ref,
        }
        vm = database.create("VM", values)
        self.machines.append(vm)
        return vm

    def _disk(self, name: str, record: Record) -> str:
        values = _fields("VDI", record)
        vdi = volumes.create(
            self._pool,
            {
                "name_label": values.get("name_label", ""),
                "name_description": values.get("name_description", ""),
                "SR": self._sr.ref,
                "virtual_size": values.get("virtual_size", 0),
                "type": values.get("type", "user"),
                "sharable": False,
                "read_only": False,
                "other_config": values.get("other_config", {}),
                "tags": values.get("tags", []),
            },
        )
        self._disks[name] = _Filling(vdi)
        return vdi.ref

    def _device(self, kind: str, record: Record, refs: dict[str, str]) -> None:
        values = _fields(kind, record)
        vm = refs.get(str(record.get("VM")))
        if vm is None:
            return
        values["VM"] = vm
        if kind == "VBD":
            vdi = refs.get(str(record.get("VDI")), NULL)
            if vdi == NULL and values.get("type") == "Disk":
                return
            values |= {"VDI": vdi, "empty": vdi == NULL, "device": "", "currently_attached": False}
        if kind == "VIF":
            values |= {"network": refs.get(str(record.get("network")), NULL)}
            values["currently_attached"] = False
            if not self._restore:
                values |= {"MAC": random_mac(), "MAC_autogenerated": True}
        row = self._pool.database.create(kind, values)
        if kind == "VTPM":
            contents: Record = {"contents": str(record.get("contents", ""))}
            self._pool.database.put_document("vtpm", row.text("uuid"), contents)

    # -- disks ------------------------------------------------------------------------------------

    def _take(self, name: str, content: bytes) -> None:
        match = ENTRY.fullmatch(name)
        filling = self._disks.get(match["disk"]) if match is not None else None
        if match is None or filling is None:
            raise XvaError("IMPORT_ERROR_UNEXPECTED_FILE", "a disk's chunk", name)
        if match["sum"]:
            self._check(filling, f"{match['disk']}/{match['number']}", match["sum"], content)
            return
        number = int(match["number"])
        if number <= filling.number:
            raise XvaError("IMPORT_ERROR_UNEXPECTED_FILE", "a higher number", name)
        filling.waiting = (name, content)
        if content:
            filling.chunk = filling.chunk or len(content)
            disk = volumes.disk_of(self._pool, filling.vdi)
            try:
                disk.write(number * filling.chunk, memoryview(content))
            except ValueError as error:
                raise XvaError("IMPORT_ERROR", str(error)) from None
        filling.number = number

    def _check(self, filling: _Filling, name: str, kind: str, expected: bytes) -> None:
        if filling.waiting is None or filling.waiting[0] != name:
            raise XvaError("IMPORT_ERROR_UNEXPECTED_FILE", "a chunk", f"{name}.{kind}")
        if not verify(kind, filling.waiting[1], expected) and not self._force:
            raise XvaError("IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
        filling.waiting = None


def _fields(class_name: str, record: Record) -> Record:
    """What a description says of an object, typed, without references and what we keep."""
    values: Record = {}
    for known in TABLES[class_name].fields.values():
        skipped = known.name in ("uuid", "allowed_operations", "current_operations")
        if skipped or "ref:" in known.type or known.name in DERIVED[class_name]:
            continue
        if known.name in record:
            values[known.name] = coerce(known.type, record[known.name], known.name)
    return values


def _objects(content: bytes) -> dict[str, tuple[str, Record]]:
    """`ova.xml` as id → (class, record)."""
    try:
        document = xmlrpc.decode_value(content)
    except xmlrpc.XmlError as error:
        raise XvaError("IMPORT_ERROR", f"ova.xml: {error}") from None
    listed = document.get("objects") if isinstance(document, Mapping) else None
    if not isinstance(listed, list) or len(listed) > _OBJECTS_MAX:
        raise XvaError("IMPORT_INCOMPATIBLE_VERSION")
    found: dict[str, tuple[str, Record]] = {}
    for entry in listed:
        if not isinstance(entry, Mapping):
            raise XvaError("IMPORT_ERROR", "ova.xml: an object is a struct")
        snapshot: Value = entry.get("snapshot")
        if not isinstance(snapshot, Mapping):
            raise XvaError("IMPORT_ERROR", "ova.xml: an object without a record")
        found[str(entry.get("id"))] = (str(entry.get("class")), dict(snapshot))
    return found
