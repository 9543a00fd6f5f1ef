"""Streams out of a pool, each opened in turn with all that the pool exports.

What the steps that send a snapshot hand to their party's readings: whoever comes first opens it.
"""

import contextlib
from collections.abc import AsyncIterator

import structlog

from reconciler.executor.tools import Tools
from reconciler.ids import DiskSnapshotUuid
from reconciler.plan.actions import Archive, CopyVm, Export, Replicate
from reconciler.transfer.archive import CheckedSource
from reconciler.transfer.source import ByteSource, OpenSource
from reconciler.xapi.archives import open_vm_export
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def disk_stream(
    action: Export | Replicate,
    tools: Tools,
    client: XapiClient,
    snapshot: str,
    base: DiskSnapshotUuid | None,
    label: str,
) -> AsyncIterator[ByteSource]:
    """Open a disk's stream. snapshot: a reference. base: None is the whole disk.

    Raises XapiError.
    """
    async with tools.export_slot(action.pool):
        base_ref = None if base is None else await client.call("VDI.get_by_uuid", base)
        async with await open_export(client, snapshot, base_ref, label=label) as stream:
            yield stream


@contextlib.asynccontextmanager
async def vm_stream(
    action: Archive | CopyVm, tools: Tools, client: XapiClient
) -> AsyncIterator[OpenSource]:
    """Open the stream of a whole VM, checked as it comes. Raises XapiError."""
    async with tools.export_slot(action.pool):
        snapshot = str(await client.call("VM.get_by_uuid", action.snapshot))
        async with await open_vm_export(
            client, snapshot, action.compression, label=action.vm_name
        ) as stream:
            source = CheckedSource(stream)
            yield source
    if (checked := source.checked) is not None:
        log.debug(
            "archive received",
            bytes=checked.stream_bytes,
            unpacked=checked.seen.archive_bytes,
            compression=checked.compression,
            unverified_chunks=checked.seen.unverified,
        )
