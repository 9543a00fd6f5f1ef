"""Whole VMs on the move: out of a pool as an archive (XVA), and into one.

The length of an archive is not known beforehand. An export ends with the connection, as a disk's
does; an import is told of more than will ever come, then the connection is closed in our direction.
The pool tells archives that are compressed by their first bytes.

The new VM is there as soon as its description was read, and belongs to the pool until the import
is over: what fails, the pool removes again.
"""

from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import ExportStream
from reconciler.xapi.errors import BadAnswer
from reconciler.xapi.imports import ImportStream
from reconciler.xapi.transfers import Request, begin

COMPRESSIONS = {"None": "false", "Gzip": "true", "Zstd": "zstd"}
"""What the pool calls them. Hosts older than XenServer 8 know no zstd."""

_ENDLESS = 1 << 50


async def open_vm_export(
    client: XapiClient, vm: str, compression: str = "None", *, label: str = ""
) -> ExportStream:
    """Begin to export a VM or a snapshot (a reference) that does not run. Raises XapiError.

    compression: None, Gzip or Zstd. label: names the VM for people who look at the pool's tasks.
    """
    query = {"ref": vm, "use_compression": COMPRESSIONS[compression]}
    what = f"export of {label or vm}"
    link, task = await begin(client, Request("GET", "/export", query, ()), what)
    return ExportStream(client, link, task, what)


class VmImport(ImportStream):
    """A VM on its way in."""

    async def finish(self) -> tuple[str, ...]:
        """Say that this was all, and wait for the task's end; return the new VMs' references.

        Raises XapiFailure if the task failed, OutcomeUnknown if it is gone or does not end,
        ValueError for less than the length that was said.
        """
        match await self._finish():
            case [*refs] if refs and all(isinstance(ref, str) for ref in refs):
                return tuple(map(str, refs))
        raise BadAnswer(f"{self._what}: the task's result names no VM")


async def open_vm_import(
    client: XapiClient, sr: str, *, length: int | None = None, label: str = ""
) -> VmImport:
    """Begin to import a VM as a new one (with uuids of its own) onto a storage repository.

    sr: a reference. length: bytes that will come, None if that is not known. Raises XapiError.
    """
    what = f"import of {label or 'a VM'}"
    query = {"sr_id": sr, "restore": "false", "force": "false"}
    headers = (("content-length", str(_ENDLESS if length is None else length)),)
    link, task = await begin(client, Request("PUT", "/import", query, headers), what)
    return VmImport(client, link, task, what, length)
