"""A disk into a pool: a VHD stream that a storage repository takes in, made of what is read.

    DiskHead ─▶ preamble ─▶ [bitmap + 2 MiB] … ─▶ trailer        length known from the head

The pool writes what comes at its place and touches nothing else. So a difference goes onto a disk
that equals its base, and a full onto an empty one; which disk it is, is asked once it is known what
comes. Knows the format and imports; never what the disk belongs to.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reconciler.transfer.sink import DiskHead, Identity, Received
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BLOCK
from reconciler.xapi.client import XapiClient
from reconciler.xapi.imports import DiskImport, open_vhd_import

_PIECE_BYTES = 4 * 1024 * 1024

Place = Callable[[DiskHead], Awaitable[str]]
"""Gives the reference of the disk that is written: as large as the head says; equal to the base if
what comes is a difference, else empty."""


@dataclass(slots=True)
class _Open:
    """What `begin` made. sent: blocks so far."""

    head: DiskHead
    layout: Layout
    stream: DiskImport
    sent: int = 0


class ImportSink:
    """place: see `Place`. identity: of the stream; the pool takes no notice of it.

    label: names the disk for people who look at the pool's tasks. Raises XapiError, VhdError, and
    what `place` raises. When it failed or was aborted, the disk's content is undefined.
    """

    def __init__(
        self, client: XapiClient, place: Place, identity: Identity, *, label: str = ""
    ) -> None:
        self._client = client
        self._place = place
        self._identity = identity
        self._label = label
        self._open: _Open | None = None

    async def begin(self, head: DiskHead) -> None:
        layout = Layout.of_disk(
            head.virtual_bytes,
            head.blocks,
            self._identity.uuid,
            self._identity.parent if head.differencing else None,
            packing=Packing.PACKED,
            timestamp=self._identity.timestamp,
        )
        disk = await self._place(head)
        stream = await open_vhd_import(self._client, disk, layout.total_bytes, label=self._label)
        self._open = _Open(head, layout, stream)
        preamble = memoryview(layout.preamble())
        for start in range(0, len(preamble), _PIECE_BYTES):
            await stream.write(preamble[start : start + _PIECE_BYTES])

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        """As `DiskSink.block`. Zeros are sent too: the length was said before they were known."""
        opened = self._open
        assert opened is not None and opened.layout.blocks[opened.sent] == index
        await opened.stream.write(record)
        opened.sent += 1

    async def end(self) -> Received:
        opened = self._open
        assert opened is not None and opened.sent == len(opened.layout.blocks)
        await opened.stream.write(opened.layout.trailer())
        await opened.stream.finish()
        return Received(
            file_bytes=opened.layout.total_bytes,
            data_bytes=opened.sent * BLOCK,
            blocks=opened.sent,
            virtual_bytes=opened.head.virtual_bytes,
            differencing=opened.head.differencing,
        )

    async def abort(self) -> None:
        if self._open is not None:
            await self._open.stream.abort()
