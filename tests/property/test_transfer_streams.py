"""Whatever a sender does to a stream: one file, whole and right; or a clear error and no file."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Traits
from reconciler.remotes.threads import Threads
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.sink import Identity
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.errors import VhdError
from reconciler.vhd.layout import BLOCK

IDENTITY = Identity("11111111-0000-4000-8000-000000000001")
BLOCKS = {0: b"\x01" * BLOCK, 5: b"\x02" * BLOCK, 2: b"\x03" * BLOCK}


def _stream():
    layout = Layout.of_disk(
        6 * BLOCK, list(BLOCKS), "22222222-0000-4000-8000-000000000001", packing=Packing.PACKED
    )
    slots = (layout.slot_head + data for data in BLOCKS.values())
    return b"".join((layout.preamble(), *slots, layout.trailer()))


STREAM = _stream()
TABLES = 2048

# Where it hurts: the tables, the bitmaps, the trailer; and anywhere.
places = st.one_of(
    st.integers(0, TABLES + 600),
    st.integers(len(STREAM) - 512, len(STREAM) - 1),
    st.integers(0, len(STREAM) - 1),
)


class Sender:
    def __init__(self, content):
        self._view = memoryview(content)
        self.asked = 0

    async def read_exactly(self, view):
        self.asked = max(self.asked, len(view))
        if len(self._view) < len(view):
            raise StreamTruncated(len(view), len(self._view))
        view[:], self._view = self._view[: len(view)], self._view[len(view) :]

    async def finish(self):
        if self._view:
            raise StreamError("there is more")

    async def abort(self):
        pass


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flips=st.lists(st.tuples(places, st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.none(), places),
    more=st.binary(max_size=3),
    length_known=st.booleans(),
)
def test_a_damaged_stream_is_whole_or_nothing(flips, cut, more, length_known):
    content = bytearray(STREAM)
    for place, bits in flips:
        content[place] ^= bits
    content = bytes(content[:cut]) + more

    async def story():
        filesystem = MemoryFilesystem()
        remote = FileRemote(
            "cellar",
            filesystem,
            Threads("cellar", None),
            Traits(reflink=False),
            lambda: "x",
            read_only=False,
        )
        sender = Sender(content)
        try:
            received = await receive_vhd(
                sender,
                remote,
                "t",
                IDENTITY,
                expected_bytes=len(content) if length_known else None,
            )
        except (VhdError, StreamError):
            assert filesystem.paths() == []
            return
        finally:
            assert sender.asked <= 4 * 2**20
        async with open_chain(remote, ["t"]) as reader:
            assert reader.layers[0].file_bytes == received.file_bytes
            assert reader.layers[0].uuid == IDENTITY.uuid
            if content == STREAM:
                assert reader.blocks() == sorted(BLOCKS)

    asyncio.run(story())
