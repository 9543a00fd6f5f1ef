"""One disk from a pool's export stream into a new file on a remote.

    source ─▶ [2 MiB buffer] ─▶ slot 0      a block is received straight into the buffer that it is
           ─▶ [2 MiB buffer] ─▶ slot 1      written from, while the block before it is being written

The file is made so that it looks whole only when it is: blocks first, then the trailer, the tables
at its start last of all. It stays under its temporary name; giving it its own is the catalog's
business. Knows streams, the format and remotes; never what the disk belongs to.
"""

import contextlib
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from reconciler.remotes.remote import Remote, RemoteFile
from reconciler.transfer.channel import Channel, fill_and_empty
from reconciler.transfer.source import ByteSource, StreamError
from reconciler.transfer.temporary import created_anew, removed_on_error
from reconciler.vhd.bitmap import fill
from reconciler.vhd.decoder import Block, End, Preamble, Skip, StreamDecoder
from reconciler.vhd.encoder import Layout
from reconciler.vhd.errors import VhdUnsupported
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD, FOOTER_BYTES, SLOT, SLOT_PAD, DiskType

BUFFERS = 2
"""One being received, one being written. More would only help a source and a remote that stutter
in turn, and cost 2 MiB a disk each."""

_DATA_START = SLOT - BLOCK
_ZEROS = bytes(BLOCK)
_ERROR_TEXT_BYTES = 300


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the new file is, whatever the stream says of itself (a pool makes up a uuid each time).

    uuid, parent_uuid: canonical text. parent_name: the parent's file name in the same directory;
    None together with parent_uuid for a full. timestamp: seconds since 1970.
    """

    uuid: str
    parent_uuid: str | None = None
    parent_name: str | None = None
    timestamp: int = 0

    @property
    def parent(self) -> tuple[str, str] | None:
        if self.parent_uuid is None or self.parent_name is None:
            return None
        return self.parent_uuid, self.parent_name


@dataclass(frozen=True, slots=True)
class Received:
    """What came. differencing: the file needs its parent; False also if a delta was asked for and
    the sender chose to send a full: then the file is a full, without parent.

    data_bytes: of the blocks that were kept. virtual_bytes: size of the disk.
    buffers_peak: most buffers that were waiting to be written.
    """

    file_bytes: int
    data_bytes: int
    blocks: int
    virtual_bytes: int
    differencing: bool
    buffers_peak: int


async def receive_vhd(
    source: ByteSource,
    remote: Remote,
    temporary: str,
    identity: Identity,
    *,
    expected_bytes: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    on_expected: Callable[[int], None] = lambda _: None,
) -> Received:
    """Receive a VHD stream into a new file under a temporary key: synced, and checked by reading.

    expected_bytes: length of the stream, if its sender said so. on_progress: is told how many more
    bytes of the stream came, on_expected once how many will. A file that an earlier try left under
    the key is removed. After an error the file is removed if that is still possible; after a
    cancellation it stays.
    Raises StreamError, VhdError, RemoteError, and what the source raises.
    """
    async with (
        _aborted_on_error(source),
        removed_on_error(remote, temporary),
        created_anew(remote, temporary) as file,
        # The same again, before anything is asked of the remote: that may be what hangs.
        _aborted_on_error(source),
    ):
        reception = _Reception(source, file, identity, expected_bytes, on_progress, on_expected)
        return await reception.run()


@contextlib.asynccontextmanager
async def _aborted_on_error(source: ByteSource) -> AsyncIterator[None]:
    """Let the sender go as soon as the body fails."""
    try:
        yield
    except BaseException:
        await source.abort()
        raise


class _Reception:
    """One stream on its way into one file."""

    def __init__(
        self,
        source: ByteSource,
        file: RemoteFile,
        identity: Identity,
        expected_bytes: int | None,
        on_progress: Callable[[int], None],
        on_expected: Callable[[int], None],
    ) -> None:
        self._source = source
        self._file = file
        self._identity = identity
        self._on_progress = on_progress
        self._on_expected = on_expected
        self._decoder = StreamDecoder(expected_bytes, partial_blocks=True)
        self._channel: Channel[bytearray, bytearray] = Channel(
            [bytearray(SLOT) for _ in range(BUFFERS)]
        )
        self._layout: Layout | None = None
        self._kept = array("I")
        self._differencing = False

    async def run(self) -> Received:
        await fill_and_empty(self._read(), self._write())
        layout = await self._complete()
        return Received(
            file_bytes=layout.total_bytes,
            data_bytes=len(self._kept) * BLOCK,
            blocks=len(self._kept),
            virtual_bytes=layout.footer.current_size,
            differencing=self._differencing,
            buffers_peak=self._channel.peak,
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        while wanted := self._decoder.wanted:
            if self._layout is not None and wanted == BLOCK_RECORD:
                await self._read_block(await self._channel.free())
            else:
                await self._read_tables(wanted)
        # The sender's word that all is well costs time (the pool detaches the disk first); the
        # last block is being written meanwhile.
        await self._source.finish()
        self._channel.close()

    async def _read_tables(self, wanted: int) -> None:
        """Read whatever is no block: footers, header, table, gaps."""
        piece = bytearray(wanted)
        await self._source.read_exactly(memoryview(piece))
        if self._decoder.position == 0:
            _check_no_error_page(piece)
        match self._decoder.take(piece):
            case Preamble() as preamble:
                self._layout = self._planned(preamble)
                self._on_expected(len(preamble.blocks) * BLOCK_RECORD)
            case Skip() | End():
                pass
            case Block():
                raise AssertionError("blocks come after the tables")
        self._on_progress(wanted)

    async def _read_block(self, buffer: bytearray) -> None:
        record = memoryview(buffer)[SLOT_PAD:]
        await self._source.read_exactly(record)
        match self._decoder.take(record):
            case Block(index, whole):
                if not whole:
                    self._make_whole(index, record)
                if self._differencing or not buffer.startswith(_ZEROS, _DATA_START):
                    self._kept.append(index)
                    self._channel.put(buffer)
                else:
                    # A full has nothing below it that zeros would have to hide.
                    self._channel.give_back(buffer)
            case Skip():
                self._channel.give_back(buffer)  # a gap, by chance as long as a block
            case Preamble() | End():
                raise AssertionError("tables come before blocks, and the end is shorter than one")
        self._on_progress(BLOCK_RECORD)

    def _planned(self, preamble: Preamble) -> Layout:
        """Plan the file as if every block were kept: where the n-th slot lies does not change."""
        self._differencing = preamble.footer.disk_type is DiskType.DIFFERENCING
        if self._differencing and self._identity.parent is None:
            raise StreamError("a full was asked for, and the stream is a delta")
        return self._laid_out(preamble.footer.current_size, preamble.blocks)

    def _make_whole(self, block: int, record: memoryview) -> None:
        if self._differencing:
            raise VhdUnsupported(
                f"block {block} of the delta holds only some of its sectors; take a full instead"
            )
        fill(record)

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    async def _write(self) -> None:
        index = 0
        while (buffer := await self._channel.get()) is not None:
            assert self._layout is not None
            await self._file.write([buffer], self._layout.slot_offset(index))
            self._channel.give_back(buffer)
            index += 1

    async def _complete(self) -> Layout:
        """Make the file a VHD: trailer, then tables; sync; look whether it is there."""
        assert self._layout is not None
        layout = self._laid_out(self._layout.footer.current_size, self._kept)
        await self._file.write([layout.trailer()], layout.trailer_offset)
        await self._file.write([layout.preamble()], 0)
        await self._file.sync()
        first, last = await self._file.read_many([0, layout.trailer_offset], FOOTER_BYTES)
        size = await self._file.size()
        if size != layout.total_bytes or first != last or first != layout.trailer():
            raise StreamError(
                f"{self._file.key} does not read back as it was written: {size} bytes instead of "
                f"{layout.total_bytes}, or other footers"
            )
        return layout

    def _laid_out(self, size_bytes: int, blocks: Sequence[int]) -> Layout:
        return Layout.of_disk(
            size_bytes,
            blocks,
            self._identity.uuid,
            self._identity.parent if self._differencing else None,
            timestamp=self._identity.timestamp,
        )


def _check_no_error_page(piece: bytearray) -> None:
    """XAPI says 200 before it attaches the disk; if that fails, a second response is the body."""
    if piece.startswith(b"HTTP/"):
        text = piece[:_ERROR_TEXT_BYTES].decode("latin-1")
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        raise StreamError(f"the pool sent an error instead of a disk: {words}")
